"""Sequence-to-sequence tasks: translation, summarisation, generative question answering."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSeq2SeqLM

from ftlit.errors import UserError
from ftlit.heads import EncoderDecoderHead, TaskHead
from ftlit.losses import CrossEntropy, Loss, perplexity, taught_token_losses, token_losses
from ftlit.metrics.text import check_names, metric_keys, signatures, text_scores
from ftlit.models.backbones import load_tokenizer
from ftlit.models.encoder_decoder import decoder_limit, decoder_tokenizer
from ftlit.models.generation import Generation
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Evaluator, Outputs
from ftlit.tasks.shared.samples import GenerationQueue, check_schedule, show_samples
from ftlit.util.batch import BOOKKEEPING, IGNORED, pad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Seq2Seq(TaskModule):
    """Generates a target text for a source text.

    Args:
        decoder: Hub name or folder of a second model that is used as the decoder if the backbone is only an encoder. Its
            cross-attention is newly initialized.
        generation: How targets are generated.
        metrics: Metrics of the generated texts, such as [bleu, chrf] or [rouge, meteor].
        keep_special_tokens: Whether texts keep the special tokens in them, both the generated ones and those of the data.
        generate_every_n_epochs: Number of epochs between two validations that generate texts. Only for `metrics`.
        generate_limit: Number of texts generated at a validation during training, for the first rows of the split; null for
            all. Other evaluations generate all.
        max_target_length: Taken from the data: the maximum length of a generated text, unless `generation` sets it.
    """

    evidence: ClassVar[str | None] = "texts"
    auto_class = AutoModelForSeq2SeqLM
    takes_auxiliary: ClassVar[bool] = False
    takes_teacher = True
    mean_names = ("nll",)

    def __init__(
        self,
        decoder: str | None = None,
        generation: Generation = Generation(),
        metrics: list[str] | None = None,
        keep_special_tokens: bool = False,
        generate_every_n_epochs: int = 1,
        generate_limit: int | None = 200,
        max_target_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decoder, self.generation, self.text_metrics = decoder, generation, metrics or []
        self.generate_every_n_epochs, self.generate_limit = generate_every_n_epochs, generate_limit
        self.max_new_tokens, self.queue = max_target_length or 128, GenerationQueue()
        self.keep_special_tokens = keep_special_tokens
        self.corpus_metric_names = ("perplexity", *metric_keys(self.text_metrics))

    def prepare(self) -> None:
        super().prepare()
        limit = decoder_limit(self.hparams["backbone"], self.decoder, self.hparams["trust_remote_code"])
        self.generation.check()
        check_names(self.text_metrics)
        if type(self.head) is not TaskHead:
            raise UserError(f"Seq2Seq takes no model.head, got {self.head}; set model.decoder to choose the model that writes")
        if limit is not None and (self.generation.max_new_tokens or 0) > limit:
            raise UserError(
                f"model.generation.max_new_tokens is {self.generation.max_new_tokens}, but the decoder writes at most {limit}"
            )
        check_schedule(self.generate_every_n_epochs, self.monitor, metric_keys(self.text_metrics))
        if self.decoder is not None:
            self.head = EncoderDecoderHead(self.decoder, self.hparams["trust_remote_code"])

    def build_earlier(self, load: Callable[..., Any], config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        if self.decoder is None:
            return super().build_earlier(load, config)
        return load(AutoModel, **config)  # the encoder of a joined model

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the targets."""
        trust = self.hparams["trust_remote_code"]
        return decoder_tokenizer(self.decoder, trust) if self.decoder else load_tokenizer(self.hparams["backbone"], None, trust)

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return the logits of each target token given the previous ones, ``(batch, target tokens, vocabulary)``."""
        return self({**batch, "decoder_input_ids": self.decoder_inputs(batch["labels"])}).logits

    def decoder_inputs(self, labels: Tensor) -> Tensor:
        """Return the decoder's inputs: the targets ``(batch, target tokens)``, shifted right by the start token."""
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            return self.model.prepare_decoder_input_ids_from_labels(labels)
        config = self.model.config  # NLLB, M2M100 and Blenderbot have no such method
        moved = labels.roll(1, dims=1).masked_fill(labels.roll(1, dims=1) == IGNORED, config.pad_token_id)
        moved[:, 0] = config.decoder_start_token_id
        return moved

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return token_losses(self.loss, logits, batch["labels"])

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the logits of the target tokens without padding, in row order, ``(targets, vocabulary)``."""
        return self.logits(batch)[batch["labels"] != IGNORED]

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return taught_token_losses(self.distillation, logits, lessons, batch["labels"])

    # Evaluation

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        outputs, plain = super().evaluate_batch(batch), CrossEntropy()  # perplexity ignores label smoothing
        nll = outputs.losses if self.loss == plain else token_losses(plain, outputs.scores, batch["labels"])
        return replace(outputs, means={"nll": (nll, batch["loss_weights"])})

    def needs_predictions(self) -> bool:
        if not self.text_metrics or self.trainer.sanity_checking:
            return False
        return not self.is_fitting or (self.current_epoch + 1) % self.generate_every_n_epochs == 0

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the sources of the rows whose texts are generated at the end of the evaluation."""
        self.queue.observe(batch)
        limit, rows = self.generate_limit if self.is_fitting else None, batch["ids"].tolist()
        return [
            {"prediction": None, "source": source(batch, i)} if limit is None or row < limit else None
            for i, row in enumerate(rows)
        ]

    def generate_predictions(self, parts: list[dict[str, Any]]) -> None:
        self.queue.generate(self, parts, self.texts)

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        found = {"perplexity": perplexity(evaluation.mean("nll"))}
        if not evaluation.predictions:
            return found
        if self.is_fitting:
            show_samples(self, evaluation.predictions)
        texts = [row["prediction"] for row in evaluation.predictions.values()]
        return found | text_scores(self.text_metrics, texts, list(evaluation.references.values()))

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        if not self.text_metrics or not evaluation.predictions:
            return {}
        return {"signatures": signatures(self.text_metrics, list(evaluation.references.values()))}

    # Generation

    def predict_batch(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [{"prediction": text} for text in self.texts(self.sources(batch))]

    def sources(self, batch: dict[str, Any]) -> list[dict[str, list[int]]]:
        """Return the sources of new rows."""
        return [source(batch, i) for i in range(len(batch["input_ids"]))]

    def texts(self, sources: list[dict[str, list[int]]]) -> list[str]:
        """Generate the targets of sources."""
        inputs = self.generation_inputs(sources)
        return self.generation.texts(self.model, self.tokenizer, inputs, self.max_new_tokens, self.keep_special_tokens)

    def generation_inputs(self, sources: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        """Return what ``generate`` takes for sources."""
        fillers = {"input_ids": self.pad_token_id or 0}
        return {name: pad([one[name] for one in sources], fillers.get(name, 0)).to(self.device) for name in sources[0]}

    def room(self, source: dict[str, list[int]]) -> int | None:
        """Return the number of tokens that the decoder writes at most, or None if there is no limit."""
        return decoder_limit(self.hparams["backbone"], self.decoder, self.hparams["trust_remote_code"])


def source(batch: dict[str, Any], i: int) -> dict[str, list[int]]:
    """Return the inputs of an example of a batch, without padding."""
    length = int(batch["attention_mask"][i].sum())
    return {name: values[i, :length].tolist() for name, values in batch.items() if name not in BOOKKEEPING}
