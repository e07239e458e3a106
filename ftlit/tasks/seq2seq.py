"""Sequence to sequence: translation, summarisation, generative question answering."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric
from transformers import AutoModelForSeq2SeqLM

from ftlit.backbones import load_tokenizer
from ftlit.batch import BOOKKEEPING, IGNORED
from ftlit.errors import UserError
from ftlit.generation import Generation, show_samples
from ftlit.heads import TaskHead
from ftlit.joined import JoinedHead, decoder_limit, decoder_tokenizer
from ftlit.losses import CrossEntropy, Loss, token_losses
from ftlit.metrics.text import check_names, metric_keys, signatures, text_scores
from ftlit.tasks.base import TaskModule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Seq2Seq(TaskModule):
    """A target text for a source text.

    Args:
        decoder: Hub name or folder of a second model that becomes the decoder, where the backbone is an encoder alone; its
            cross-attention is new.
        generation: How targets are written.
        metrics: Metrics of the written texts, such as [bleu, chrf] or [rouge, meteor].
        generate_every_n_epochs: Epochs of training from one validation that writes texts to the next; only for `metrics`.
        generate_limit: Texts written at a validation during training, the first of the split; null for all. Other
            evaluations write all.
        max_target_length: Taken from the data: the length of a written text at most, where `generation` names none.
    """

    auto_class = AutoModelForSeq2SeqLM

    def __init__(
        self,
        decoder: str | None = None,
        generation: Generation = Generation(),
        metrics: list[str] | None = None,
        generate_every_n_epochs: int = 1,
        generate_limit: int | None = 200,
        max_target_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decoder, self.generation, self.text_metrics = decoder, generation, metrics or []
        self.generate_every_n_epochs, self.generate_limit = generate_every_n_epochs, generate_limit
        self.longest = max_target_length or 128
        self._check()
        if decoder is not None:
            self.head = JoinedHead(decoder, self.hparams["trust_remote_code"])
        self.summary_names = ("perplexity", *metric_keys(self.text_metrics))  # type: ignore[misc]
        self.adopt()
        if not any(weight.requires_grad for weight in self.parameters()):
            raise UserError(
                f"model.tuning {self.tuning} leaves nothing to train: {type(self.model).__name__} has no new head, since what "
                "gives its tokens is pretrained like the rest; use Full, TopLayers or LoRA"
            )
        for split in ("val", "test"):
            self.metrics[f"{split}_nll"] = MeanMetric().set_dtype(torch.float64)

    def _check(self) -> None:
        """Refuse settings that cannot work together."""
        limit = decoder_limit(self.hparams["backbone"], self.decoder, self.hparams["trust_remote_code"])
        self.generation.check()
        check_names(self.text_metrics)
        if type(self.head) is not TaskHead:
            raise UserError(f"Seq2Seq takes no model.head, got {self.head}; name the model that writes with model.decoder")
        if limit is not None and (self.generation.max_new_tokens or 0) > limit:
            raise UserError(
                f"model.generation.max_new_tokens is {self.generation.max_new_tokens}, but the decoder writes at most {limit}"
            )
        if self.generate_every_n_epochs < 1:
            raise UserError(f"model.generate_every_n_epochs must be at least 1, got {self.generate_every_n_epochs}")
        if self.generate_every_n_epochs > 1 and self.monitor.removeprefix("val/") in metric_keys(self.text_metrics):
            raise UserError(
                f"model.monitor {self.monitor!r} needs written texts at every validation; set model.generate_every_n_epochs: 1"
            )

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of targets."""
        trust = self.hparams["trust_remote_code"]
        return decoder_tokenizer(self.decoder, trust) if self.decoder else load_tokenizer(self.hparams["backbone"], None, trust)

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Logits of each target token given those before it, ``(batch, target tokens, vocabulary)``."""
        return self({**batch, "decoder_input_ids": self.decoder_inputs(batch["labels"])}).logits

    def decoder_inputs(self, labels: Tensor) -> Tensor:
        """The targets ``(batch, target tokens)`` moved on by the start token: what the decoder reads."""
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            return self.model.prepare_decoder_input_ids_from_labels(labels)
        config = self.model.config  # NLLB, M2M100 and Blenderbot have no such method
        moved = labels.roll(1, dims=1).masked_fill(labels.roll(1, dims=1) == IGNORED, config.pad_token_id)
        moved[:, 0] = config.decoder_start_token_id
        return moved

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return token_losses(self.loss, logits, batch["labels"])

    def update(self, split: str, logits: Tensor, batch: dict[str, Any]) -> None:
        super().update(split, logits, batch)
        plain = token_losses(CrossEntropy(), logits, batch["labels"]).double()  # perplexity knows no label smoothing
        units = batch["units"].double()
        self.metrics[f"{split}_nll"].update(plain / units, units)

    # Writing texts

    @property
    def fitting(self) -> bool:
        """Whether this evaluation is one of those during training."""
        return self.trainer.state.fn == "fit"

    def collects(self, split: str) -> bool:
        if not self.fitting:
            return bool(self.text_metrics)
        return bool(self.text_metrics) and (self.current_epoch + 1) % self.generate_every_n_epochs == 0

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        rows = batch["ids"].tolist()
        limit = self.generate_limit if self.fitting else None
        chosen = [i for i, row in enumerate(rows) if limit is None or row < limit]
        texts = dict(zip(chosen, self.written(batch, chosen), strict=True))
        return [{"prediction": texts[i]} if i in texts else None for i in range(len(rows))]

    def decoded(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [{"prediction": text} for text in self.written(batch, list(range(len(batch["input_ids"]))))]

    def written(self, batch: dict[str, Any], chosen: list[int]) -> list[str]:
        """The targets that the model writes for some examples of a batch."""
        if not chosen:
            return []
        inputs = {name: values[chosen] for name, values in batch.items() if name not in BOOKKEEPING}
        width = int(inputs["attention_mask"].sum(1).max())
        inputs = {name: values[:, :width] for name, values in inputs.items()}
        return self.generation.texts(self.model, self.tokenizer, inputs, self.longest)

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        nll = self.metrics[f"{split}_nll"]
        perplexity = math.exp(min(float(nll.compute()), 700.0))
        nll.reset()
        if not self.predictions:
            return {"perplexity": perplexity}
        if self.fitting and not self.trainer.sanity_checking:
            show_samples(self, self.predictions)
        texts = [found["prediction"] for found in self.predictions.values()]
        return {"perplexity": perplexity, **text_scores(self.text_metrics, texts, list(self.references.values()))}

    def report(self, split: str) -> dict[str, Any]:
        if not self.text_metrics or not self.predictions:
            return {}
        return {"signatures": signatures(self.text_metrics, list(self.references.values()))}
