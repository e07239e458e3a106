"""Causal language modelling: replies in conversations, instructions, or raw text."""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ftlit.errors import UserError
from ftlit.metrics.text import check_names, metric_keys, pattern_match, signatures, text_scores
from ftlit.models.backbones import load_config, looks_ahead, max_positions, probing
from ftlit.models.encoder_decoder import decoder_tokenizer
from ftlit.models.generation import Generation, left_padded
from ftlit.runs.files import SAMPLES
from ftlit.tasks.shared.language_model import LanguageModel
from ftlit.tasks.shared.samples import Sources, check_schedule, show_samples
from ftlit.util.batch import IGNORED
from ftlit.util.files import write_text

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
        generate_limit: Replies written for `metrics` and `pattern` at a validation during training, the first of the split;
            null for all. Other evaluations write all.
        stop_id: Taken from the data: the token that closes a reply.
    """

    evidence: ClassVar[str | None] = "replies"
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
        self.stop_id, self.sources = stop_id, Sources()
        written = [*metric_keys(self.text_metrics), *(["pattern_match"] if pattern else [])]
        self.summary_names = ("perplexity", "bits_per_byte", *written)  # type: ignore[misc]
        self._check(written)
        self.adopt()
        if looks_ahead(self, lambda ids: self({"input_ids": ids}).logits):
            raise UserError(
                f"model.backbone {self.hparams['backbone']!r} sees the tokens that come after each, which CausalLM predicts; "
                "name a decoder such as GPT-2 or Llama, or take MaskedLM"
            )
        self._end_replies()

    def _check(self, written: list[str]) -> None:
        """Refuse settings that cannot work together."""
        self.generation.check()
        check_names(self.text_metrics)
        limit, longest = self.position_limit, self.generation.max_new_tokens
        if limit is not None and longest is not None and longest >= limit:
            raise UserError(f"model.generation.max_new_tokens is {longest}, but the model takes {limit} tokens with the prompt")
        if written and self.stop_id is None:
            raise UserError("model.metrics and model.pattern compare replies, which raw text has not; they go with ChatData")
        check_schedule(self.generate_every_n_epochs, self.generate_limit, self.monitor, written)
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise UserError(f"model.pattern {self.pattern!r} is no regular expression: {error}") from error

    def _end_replies(self) -> None:
        config = self.model.generation_config
        ends = config.eos_token_id
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        config.eos_token_id = sorted({*ends, *([] if self.stop_id is None else [self.stop_id])}) or None
        config.pad_token_id = self.pad_token_id

    @cached_property
    def position_limit(self) -> int | None:
        """Tokens that the model takes at most, prompt and reply together."""
        limit = max_positions(load_config(self.hparams["backbone"], self.hparams["trust_remote_code"]))
        return None if limit is None else limit - self.tuning.positions

    @property
    def longest(self) -> int:
        """Tokens of a reply at most."""
        limit = self.position_limit
        return self.generation.max_new_tokens or (REPLY if limit is None else min(REPLY, limit // 2))

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer."""
        return decoder_tokenizer(self.hparams["backbone"], self.hparams["trust_remote_code"])

    # Training

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
        with probing(self):
            one, other = self({"input_ids": ids, "position_ids": positions}).logits[:, 3:].float()
        return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * float(one.std()))

    def targets(self, labels: Tensor) -> Tensor:
        return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)

    # Replies

    def collects(self, split: str) -> bool:
        return self.wanted() != 0

    @property
    def fitting(self) -> bool:
        """Whether this evaluation is one of those during training."""
        return self.trainer.state.fn == "fit"

    def wanted(self) -> int | None:
        """How many replies this evaluation writes, the first of the split; None for all."""
        if self.trainer.sanity_checking or (self.fitting and (self.current_epoch + 1) % self.generate_every_n_epochs):
            return 0
        shown = self.samples if self.fitting else 0
        if not self.text_metrics and not self.pattern:
            return shown
        return max(self.generate_limit, shown) if self.fitting and self.generate_limit is not None else None

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """The mean of ``-log p`` over each example's targets, and the prompt where a reply is to be written."""
        scored = super().decode(logits, batch)
        prompts = batch["metadata"].get("prompt_ids")
        if prompts is None:
            return scored
        self.sources.fits(batch)
        limit, rows = self.wanted(), batch["ids"].tolist()
        return [
            {"prediction": None, "nll": found["prediction"], "targets": found["targets"]}
            | ({"source": {"input_ids": ids}} if limit is None or row < limit else {})
            for found, row, ids in zip(scored, rows, prompts, strict=True)
            if found
        ]

    def answer(self, parts: list[dict[str, Any]]) -> None:
        self.sources.write(self, parts, lambda some: self.replies([source["input_ids"] for source in some]))

    def decoded(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        if (prompts := batch["metadata"].get("prompt_ids")) is None:  # raw text is gone on with
            rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True)
            prompts = [ids[:length] for ids, length in rows]
        return [{"prediction": text} for text in self.replies(prompts)]

    def replies(self, prompts: list[list[int]]) -> list[str]:
        """What the model writes after each of several prompts; of a prompt that leaves no room, the end is taken."""
        if not prompts:
            return []
        limit, longest = self.position_limit, self.longest
        cut = [ids if limit is None else ids[-(limit - longest) :] for ids in prompts]
        inputs = left_padded(cut, self.model.generation_config.pad_token_id or 0, self.device)
        return self.generation.texts(self.model, self.tokenizer, inputs, longest)

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        summary = super().summarise(split, values)
        written = self.written
        if not written:
            return summary
        if self.fitting:
            show_samples(self, written, count=self.samples)
            self._keep_samples(written)
        return summary | self._scores(self.scored)

    @property
    def written(self) -> dict[int, dict[str, Any]]:
        """The predictions of the last evaluation that hold a reply, by row."""
        return {row: found for row, found in self.predictions.items() if isinstance(found["prediction"], str)}

    @property
    def scored(self) -> dict[int, dict[str, Any]]:
        """Those of them that the metrics are of: not those that are written to be shown only."""
        limit = self.generate_limit if self.fitting else None
        return {row: found for row, found in self.written.items() if limit is None or row < limit}

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
        file = Path(self.trainer.default_root_dir) / SAMPLES
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] < self.global_step]
        when, data = {"epoch": self.current_epoch, "step": self.global_step}, self.trainer.datamodule  # type: ignore[attr-defined]
        shown = [{**when, **data.shown_at("validation", row), **written[row]} for row in list(written)[: self.samples]]
        write_text(file, "\n".join([*kept, *(json.dumps(row, ensure_ascii=False) for row in shown)]) + "\n")

    def report(self, split: str) -> dict[str, Any]:
        if not self.text_metrics or not self.scored:
            return {}
        return {"signatures": signatures(self.text_metrics, [[self.references[row]] for row in self.scored])}
