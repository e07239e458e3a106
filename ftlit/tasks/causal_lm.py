"""Causal language modelling: replies in conversations, instructions, or raw text."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ftlit.backbones import load_config, max_positions
from ftlit.batch import IGNORED
from ftlit.errors import UserError
from ftlit.files import write_text
from ftlit.generation import Generation, left_padded, show_samples
from ftlit.joined import decoder_tokenizer
from ftlit.metrics.text import check_names, metric_keys, pattern_match, signatures, text_scores
from ftlit.tasks.language_model import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLY = 256  # tokens of a reply at most, where the config names no other number


class CausalLM(LanguageModel):
    """Predicts each token of a text from those before it; with ChatData, the assistant's part of conversations.

    Args:
        generation: How replies are written.
        samples: Replies shown after each validation during training, and kept in samples.jsonl of the run folder.
        metrics: Metrics of the written replies, such as [rouge, bleu].
        pattern: Regular expression that finds the final answer in a reply, such as `#### (-?[0-9.,]+)` for GSM8K; its
            metric `pattern_match` is the share of replies whose answer is right.
        generate_every_n_epochs: Epochs of training from one validation that writes replies to the next.
        generate_limit: Replies written at an evaluation for `metrics` and `pattern`, the first of the split; null for all.
        stop_id: Taken from the data: the token that closes a reply.
    """

    auto_class: Any = AutoModelForCausalLM
    objective: ClassVar[Literal["causal", "masked"]] = "causal"

    def __init__(
        self,
        generation: Generation = Generation(),
        samples: int = 3,
        metrics: list[str] | None = None,
        pattern: str | None = None,
        generate_every_n_epochs: int = 1,
        generate_limit: int | None = 200,
        stop_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.generation, self.samples, self.text_metrics, self.pattern = generation, samples, metrics or [], pattern
        self.generate_every_n_epochs, self.generate_limit = generate_every_n_epochs, generate_limit
        self.stop_id = stop_id
        written = [*metric_keys(self.text_metrics), *(["pattern_match"] if pattern else [])]
        self.summary_names = ("perplexity", "bits_per_byte", *written)  # type: ignore[misc]
        self._check(written)
        self.adopt()
        self._end_replies()

    def _check(self, written: list[str]) -> None:
        """Refuse settings that cannot work together."""
        self.generation.check()
        check_names(self.text_metrics)
        limit, longest = self.position_limit, self.generation.max_new_tokens
        if limit is not None and longest is not None and longest >= limit:
            raise UserError(f"model.generation.max_new_tokens is {longest}, but the model takes {limit} tokens with the prompt")
        for name in ("generate_every_n_epochs", "generate_limit"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"model.{name} must be at least 1, got {value}")
        if written and self.stop_id is None:
            raise UserError("model.metrics and model.pattern compare replies, which raw text has not; they go with ChatData")
        if self.generate_every_n_epochs > 1 and self.monitor.removeprefix("val/") in written:
            raise UserError(
                f"model.monitor {self.monitor!r} needs written replies at every validation; "
                "set model.generate_every_n_epochs: 1"
            )

    def _end_replies(self) -> None:
        config = self.model.generation_config
        ends = config.eos_token_id
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        config.eos_token_id = sorted({*ends, *([] if self.stop_id is None else [self.stop_id])}) or None
        config.pad_token_id = self.pad_token_id

    @cached_property
    def position_limit(self) -> int | None:
        """Tokens that the model takes at most, prompt and reply together."""
        return max_positions(load_config(self.hparams["backbone"], self.hparams["trust_remote_code"]))

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer."""
        return decoder_tokenizer(self.hparams["backbone"], self.hparams["trust_remote_code"])

    # Training

    def forward(self, batch: dict[str, Any]) -> Any:
        return super().forward({**batch, "use_cache": False})  # with a cache, packed examples would see each other

    def logits(self, batch: dict[str, Any]) -> Tensor:
        if "position_ids" in batch and not self.apart:
            raise UserError(
                f"{type(self.model).__name__} lets the examples of a block see each other; set data.packing: false, or "
                "with raw text data.boundaries: false"
            )
        return super().logits(batch)

    @cached_property
    def apart(self) -> bool:
        """Whether positions that begin anew keep the examples of a block apart: tried, as not every architecture heeds them."""
        ids = torch.tensor([[1, 2, 3, 7, 8, 9], [4, 5, 6, 7, 8, 9]], device=self.device)
        positions = torch.tensor([[0, 1, 2] * 2] * 2, device=self.device)
        modes = [(part, part.training) for part in self.modules()]
        self.eval()
        with torch.no_grad():
            one, other = self({"input_ids": ids, "position_ids": positions}).logits[:, 3:].float()
        for part, training in modes:
            part.training = training
        return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * float(one.std()))

    def targets(self, labels: Tensor) -> Tensor:
        return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)

    # Replies

    def collects(self, split: str) -> bool:
        return self.wanted(split) != 0

    def wanted(self, split: str = "val") -> int | None:
        """How many replies this evaluation writes, the first of the split; None for all."""
        fitting = self.trainer.state.fn == "fit"
        if self.trainer.sanity_checking or (fitting and (self.current_epoch + 1) % self.generate_every_n_epochs):
            return 0
        if self.text_metrics or self.pattern:
            return None if self.generate_limit is None else max(self.generate_limit, self.samples if fitting else 0)
        return self.samples if fitting else 0

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """The mean of ``-log p`` over each example's targets, and of conversations the reply where one is written."""
        scored = super().decode(logits, batch)
        prompts = batch["extras"].get("prompt_ids")
        if prompts is None:
            return scored
        limit = self.wanted()
        chosen = [i for i, place in enumerate(batch["features"].tolist()) if limit is None or place < limit]
        replies = dict(zip(chosen, self.replies([prompts[i] for i in chosen]), strict=True))
        return [
            {"prediction": replies.get(i), "nll": found["prediction"], "targets": found["targets"]}
            for i, found in enumerate(scored)
            if found
        ]

    def decoded(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        if (prompts := batch["extras"].get("prompt_ids")) is None:  # raw text is gone on with
            rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True)
            prompts = [ids[:length] for ids, length in rows]
        return [{"prediction": text} for text in self.replies(prompts)]

    def replies(self, prompts: list[list[int]]) -> list[str]:
        """What the model writes after each of several prompts; of a prompt that leaves no room, the end is taken."""
        if not prompts:
            return []
        limit = self.position_limit
        longest = self.generation.max_new_tokens or (REPLY if limit is None else min(REPLY, limit // 2))
        cut = [ids if limit is None else ids[-(limit - longest) :] for ids in prompts]
        inputs = left_padded(cut, self.model.generation_config.pad_token_id or 0, self.device)
        return self.generation.texts(self.model, self.tokenizer, inputs, longest)

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        summary = super().summarise(split, values)
        written = self.written
        if not self.wanted():
            return summary
        if self.trainer.state.fn == "fit" and written:
            show_samples(self, written, count=self.samples)
            self._keep_samples(written)
        return summary | self._scores(written)

    @property
    def written(self) -> dict[int, dict[str, Any]]:
        """The predictions of the last evaluation that hold a reply, by row."""
        return {row: found for row, found in self.predictions.items() if isinstance(found["prediction"], str)}

    def _scores(self, written: dict[int, dict[str, Any]]) -> dict[str, float]:
        if not self.text_metrics and not self.pattern:
            return {}
        texts = [found["prediction"] for found in written.values()]
        references = [[self.references[row]] for row in written]
        scores = text_scores(self.text_metrics, texts, references)
        return scores | (pattern_match(texts, references, self.pattern) if self.pattern else {})

    def _keep_samples(self, written: dict[int, dict[str, Any]]) -> None:
        """Add the shown replies to samples.jsonl, in the place of any of later steps, which a resumed run makes again."""
        if not self.trainer.is_global_zero:
            return
        file = Path(self.trainer.default_root_dir) / "samples.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] < self.global_step]
        when, data = {"epoch": self.current_epoch, "step": self.global_step}, self.trainer.datamodule  # type: ignore[attr-defined]
        shown = [{**when, **data.shown_at("validation", row), **written[row]} for row in list(written)[: self.samples]]
        write_text(file, "\n".join([*kept, *(json.dumps(row, ensure_ascii=False) for row in shown)]) + "\n")

    def report(self, split: str) -> dict[str, Any]:
        if not self.text_metrics or not self.wanted() or not self.written:
            return {}
        return {"signatures": signatures(self.text_metrics, [[self.references[row]] for row in self.written])}
