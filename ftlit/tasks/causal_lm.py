"""Causal language modelling: replies in conversations, instructions, or raw text."""

import json
import math
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ftlit.errors import UserError
from ftlit.losses import perplexity
from ftlit.metrics.text import Select, check_names, metric_keys, pattern_match, pattern_signature, signatures, text_scores
from ftlit.models.backbones import evaluation_mode, load_config, looks_ahead
from ftlit.models.checks.positions import max_positions
from ftlit.models.embeddings import add_tokens
from ftlit.models.encoder_decoder import decoder_tokenizer
from ftlit.models.generation import Generation, left_padded
from ftlit.runs.files import SAMPLES
from ftlit.tasks.shared.evaluator import Evaluator
from ftlit.tasks.shared.language_model import LanguageModel
from ftlit.tasks.shared.samples import GenerationQueue, check_schedule, show_samples
from ftlit.util.batch import IGNORED
from ftlit.util.files import write_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKEN_METRICS = ("perplexity", "bits_per_byte", "perplexity_of_text", "bits_per_byte_of_text")
REPLY = 256  # default for the maximum number of tokens of a reply


class CausalLM(LanguageModel):
    """Predicts each token of a text from the previous ones. With ChatData, it predicts the assistant's part of conversations.

    Args:
        generation: How replies are generated.
        samples: Number of replies that are printed after each validation during training and saved in samples.jsonl of the
            run folder.
        metrics: Metrics of the generated replies, such as [rouge, bleu].
        pattern: Regular expression that finds the final answer in a reply, such as `#### (-?[0-9.,]+)` for GSM8K. The
            metric `pattern_match` is the share of replies whose answer is right.
        pattern_select: Which match of `pattern` in a reply counts: the `first`, as in lm-eval, or the `last`. In the right
            answer, it is always the last.
        keep_special_tokens: Whether replies keep the special tokens in them, for example those that enclose a call; both the
            generated ones and those of the data.
        generate_every_n_epochs: Number of epochs between two validations that generate replies.
        generate_limit: Number of replies generated for `metrics` and `pattern` at a validation during training, to the first
            rows of the split; null for all. Other evaluations generate all.
        stop_id: Taken from the data: the token that closes a reply.
        add_tokens: Taken from the data: special tokens that are added to the tokenizer, whose embeddings always train.
    """

    evidence: ClassVar[str | None] = "replies"
    auto_class: Any = AutoModelForCausalLM
    objective: ClassVar[Literal["causal", "masked"]] = "causal"
    mean_names = ("nll", "bytes", "text_nll", "nll_per_byte")

    def __init__(
        self,
        generation: Generation = Generation(),
        samples: int = 3,
        metrics: list[str] | None = None,
        pattern: str | None = None,
        pattern_select: Select = "first",
        keep_special_tokens: bool = False,
        generate_every_n_epochs: int = 1,
        generate_limit: int | None = 200,
        stop_id: int | None = None,
        add_tokens: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.generation, self.samples, self.text_metrics = generation, samples, metrics or []
        self.pattern, self.pattern_select = pattern, pattern_select
        self.generate_every_n_epochs, self.generate_limit = generate_every_n_epochs, generate_limit
        self.stop_id, self.queue = stop_id, GenerationQueue()
        self.keep_special_tokens, self.add_tokens = keep_special_tokens, add_tokens or []
        self.reply_metrics = (*metric_keys(self.text_metrics), *(["pattern_match"] if pattern else []))
        self.corpus_metric_names = (*TOKEN_METRICS, *self.reply_metrics)

    def prepare(self) -> None:
        super().prepare()
        self.added_tokens = self._with_tokens[1] if self.add_tokens else ()
        self.generation.check()
        check_names(self.text_metrics)
        limit, longest = self.position_limit, self.generation.max_new_tokens
        if limit is not None and longest is not None and longest >= limit:
            raise UserError(f"model.generation.max_new_tokens is {longest}, but the model takes {limit} tokens with the prompt")
        if self.reply_metrics and self.stop_id is None:
            raise UserError("model.metrics and model.pattern compare replies, but raw text has none; use them with ChatData")
        check_schedule(self.generate_every_n_epochs, self.monitor, self.reply_metrics)
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise UserError(f"model.pattern {self.pattern!r} is not a valid regular expression: {error}") from error

    def build(self) -> None:
        super().build()
        weightless = next(self.model.parameters()).is_meta  # a graph takes its place, whose model passed this test
        if not weightless and looks_ahead(self, lambda ids: self({"input_ids": ids}).logits):
            raise UserError(
                f"model.backbone {self.hparams['backbone']!r} sees the tokens that come after each, which CausalLM predicts; "
                "name a decoder such as GPT-2 or Llama, or take MaskedLM"
            )
        self._end_replies()

    def _end_replies(self) -> None:
        """End a reply at the token that closes replies in the data."""
        config = self.model.generation_config
        ends = config.eos_token_id
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        config.eos_token_id = sorted({*ends, *([] if self.stop_id is None else [self.stop_id])}) or None
        config.pad_token_id = self.pad_token_id

    @cached_property
    def position_limit(self) -> int | None:
        """Maximum number of tokens of prompt and reply together; None if the model has no limit."""
        limit = max_positions(load_config(self.hparams["backbone"], self.hparams["trust_remote_code"]))
        return None if limit is None else limit - self.tuning.positions

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens of a reply."""
        limit = self.position_limit
        return self.generation.max_new_tokens or (REPLY if limit is None else min(REPLY, limit // 2))

    @cached_property
    def _with_tokens(self) -> tuple["PreTrainedTokenizerBase", list[int]]:
        tokenizer = decoder_tokenizer(self.hparams["backbone"], self.hparams["trust_remote_code"])
        return tokenizer, add_tokens(tokenizer, self.add_tokens) if self.add_tokens else []

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer with the added tokens."""
        return self._with_tokens[0]

    # Training

    def logits(self, batch: dict[str, Any]) -> Tensor:
        if "position_ids" in batch and not self.supports_packing:
            raise UserError(
                f"{type(self.model).__name__} lets the examples of a block see each other; set data.packing: false, or "
                "with raw text data.isolate_documents: false"
            )
        return super().logits(batch)

    @cached_property
    def supports_packing(self) -> bool:
        """Whether the model isolates the examples of a block if positions restart at 0. Tested, since some models do not."""
        ids = torch.tensor([[1, 2, 3, 7, 8, 9], [4, 5, 6, 7, 8, 9]], device=self.device)
        positions = torch.tensor([[0, 1, 2] * 2] * 2, device=self.device)
        with evaluation_mode(self):
            one, other = self({"input_ids": ids, "position_ids": positions}).logits[:, 3:].float()
        return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * float(one.std()))

    def targets(self, labels: Tensor) -> Tensor:
        return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)

    # Evaluation

    def token_means(self, values: Tensor, batch: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """Add the number of bytes, and the means over the tokens and the bytes of the text, without the tokens that end it."""
        found = super().token_means(values, batch)
        of_text = ~torch.isin(self.chosen(batch["labels"]), self._end_ids.to(values.device))
        total = self.example_sums(values * of_text, batch)
        found["text_nll"] = (total, self.example_sums(of_text.float(), batch))
        if "bytes" in batch:
            found |= {"bytes": (batch["bytes"], batch["loss_weights"]), "nll_per_byte": (total, batch["bytes"])}
        return found

    @cached_property
    def _end_ids(self) -> Tensor:
        """Ids of the tokens that are not text, such as the end of a text or of a turn."""
        marks = {*self.tokenizer.all_special_ids} - {self.tokenizer.unk_token_id}  # an unknown word is text
        ends = {self.tokenizer.eos_token_id, self.stop_id, *(self.model.generation_config.eos_token_id or [])} - {None}
        return torch.tensor(sorted(marks | ends), dtype=torch.long)

    def needs_predictions(self) -> bool:
        return self.replies_to_generate() != 0

    def replies_to_generate(self) -> int | None:
        """Return the number of replies that this evaluation generates, to the first rows of the split; None for all."""
        if self.trainer.sanity_checking or (self.is_fitting and (self.current_epoch + 1) % self.generate_every_n_epochs):
            return 0
        shown = self.samples if self.is_fitting else 0
        if not self.reply_metrics:
            return shown
        return max(self.generate_limit, shown) if self.is_fitting and self.generate_limit is not None else None

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the mean of ``-log p`` over each example's targets, and its prompt if a reply is to be generated."""
        scored = super().decode(logits, batch)
        prompts = batch["metadata"].get("prompt_ids")
        if prompts is None:
            return scored
        self.queue.observe(batch)
        limit, rows = self.replies_to_generate(), batch["ids"].tolist()
        return [
            {"prediction": None, "nll": found["prediction"], "targets": found["targets"]}
            | ({"source": {"input_ids": ids}} if ids and (limit is None or row < limit) else {})
            for found, row, ids in zip(scored, rows, prompts, strict=True)
            if found
        ]

    def generate_predictions(self, parts: list[dict[str, Any]]) -> None:
        self.queue.generate(self, parts, lambda some: self.replies([source["input_ids"] for source in some]))

    def merge_windows(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge the texts of a conversation: the last has the reply, and ``nll`` is the mean over the targets of all."""
        if len(parts) == 1 or "nll" not in parts[0]:
            return super().merge_windows(parts)
        targets = sum(part["targets"] for part in parts)
        return {**parts[-1], "nll": sum(part["nll"] * part["targets"] for part in parts) / targets, "targets": targets}

    def merge_references(self, parts: list[Any]) -> Any:
        return parts[-1]

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        """Compute perplexity, bits per byte, and the metrics of the replies.

        Perplexity and bits per byte count the tokens that end texts and turns, which models have to learn, too. Those `of_text`
        do not; bits per byte of text are comparable between tokenizers (Gao et al., 2020, "The Pile").
        """
        found = super().corpus_metrics(evaluation) | {"perplexity_of_text": perplexity(evaluation.mean("text_nll"))}
        if size := evaluation.mean("bytes"):
            found["bits_per_byte"] = evaluation.mean("nll") / size / math.log(2)
            found["bits_per_byte_of_text"] = evaluation.mean("nll_per_byte") / math.log(2)
        generated = generations(evaluation)
        if not generated:
            return found
        if self.is_fitting:
            show_samples(self, generated, count=self.samples)
            self._keep_samples(generated)
        return found | self._reply_scores(evaluation)

    def scored_generations(self, evaluation: Evaluator) -> dict[int, dict[str, Any]]:
        """Return the generated replies that are scored; replies that are only shown are left out."""
        limit = self.generate_limit if self.is_fitting else None
        return {row: found for row, found in generations(evaluation).items() if limit is None or row < limit}

    def _reply_scores(self, evaluation: Evaluator) -> dict[str, float]:
        if not self.reply_metrics:
            return {}
        scored = self.scored_generations(evaluation)
        texts = [found["prediction"] for found in scored.values()]
        references = [[evaluation.references[row]] for row in scored]
        scores = text_scores(self.text_metrics, texts, references)
        return scores | (pattern_match(texts, references, self.pattern, self.pattern_select) if self.pattern else {})

    def _keep_samples(self, generated: dict[int, dict[str, Any]]) -> None:
        """Add the printed replies to samples.jsonl, and remove those of later steps, which a resumed run generates again."""
        if not self.trainer.is_global_zero:
            return
        file = Path(self.trainer.default_root_dir) / SAMPLES
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] < self.global_step]
        when, data = {"epoch": self.current_epoch, "step": self.global_step}, self.trainer.datamodule  # type: ignore[attr-defined]
        shown = [{**when, **data.record_at("validation", row), **generated[row]} for row in list(generated)[: self.samples]]
        write_text(file, "\n".join([*kept, *(json.dumps(row, ensure_ascii=False) for row in shown)]) + "\n")

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        scored = self.scored_generations(evaluation)
        if not self.reply_metrics or not scored:
            return {}
        found = signatures(self.text_metrics, [[evaluation.references[row]] for row in scored])
        own = {"pattern_match": pattern_signature(self.pattern, self.pattern_select)} if self.pattern else {}
        return {"signatures": found | own}

    # Replies

    def predict_batch(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        return [{"prediction": text} for text in self.replies(self.sources(batch))]

    def sources(self, batch: dict[str, Any]) -> list[list[int]]:
        """Return the prompts of new rows; raw text is continued."""
        rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True)
        return batch["metadata"].get("prompt_ids") or [ids[:length] for ids, length in rows]

    def replies(self, prompts: list[list[int]]) -> list[str]:
        """Generate a reply to each prompt. A prompt that leaves no room for a reply is cut at its beginning."""
        limit, longest = self.position_limit, self.max_new_tokens
        cut = [ids if limit is None else ids[-(limit - longest) :] for ids in prompts]
        return self.generation.texts(self.model, self.tokenizer, self.generation_inputs(cut), longest, self.keep_special_tokens)

    def generation_inputs(self, prompts: list[list[int]]) -> dict[str, Tensor]:
        """Return what ``generate`` takes for prompts."""
        return left_padded(prompts, self.model.generation_config.pad_token_id or 0, self.device)

    def room(self, prompt: list[int]) -> int | None:
        """Return the number of tokens that fit behind a prompt, or None if there is no limit."""
        return None if self.position_limit is None else self.position_limit - len(prompt)


def generations(evaluation: Evaluator) -> dict[int, dict[str, Any]]:
    """Return the predictions of an evaluation that contain a generated reply, by row."""
    return {row: found for row, found in evaluation.predictions.items() if isinstance(found["prediction"], str)}
