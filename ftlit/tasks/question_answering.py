"""Extractive question answering: the part of a text that answers a question (SQuAD, Rajpurkar et al. 2016 and 2018)."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForQuestionAnswering

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import CrossEntropy, Loss
from ftlit.metrics.squad import best_threshold, squad_scores
from ftlit.tasks.shared.base import TaskModule

NEVER = float("-inf")


class QuestionAnswering(TaskModule):
    """The part of a context that answers a question.

    Args:
        n_best: Number of answers to keep for each question.
        max_answer_tokens: Length of the longest answer.
        no_answer: Taken from the data: whether a question may have no answer.
        no_answer_threshold: A question is left without answer where the score of no answer exceeds that of the best
            answer by more than this; `best` takes what gives the best F1 in each validation.
    """

    evidence: ClassVar[str | None] = "answers"
    auto_class = AutoModelForQuestionAnswering
    smoothed: ClassVar[bool] = False  # some of what competes is padding, without probability
    tuned_threshold: Tensor
    summary_names: ClassVar[tuple[str, ...]] = ("exact_match", "f1")

    def __init__(
        self,
        n_best: int = 20,
        max_answer_tokens: int = 30,
        no_answer: bool = False,
        no_answer_threshold: float | Literal["best"] = "best",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("n_best", n_best), ("max_answer_tokens", max_answer_tokens)):
            if value < 1:
                raise UserError(f"model.{name} is {value}; it should be at least 1")
        self.n_best, self.max_answer_tokens = n_best, max_answer_tokens
        self.no_answer, self.no_answer_threshold = no_answer, no_answer_threshold
        if isinstance(self.head, PooledHead):
            raise UserError("model.head: PooledHead has one vector a text, and QuestionAnswering scores tokens; take TaskHead")
        self.adopt(num_labels=2)
        self.register_buffer("tuned_threshold", torch.tensor(0.0, dtype=torch.float64))

    @property
    def default_monitor(self) -> str:
        return "val/f1"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Scores of each token as the first and as the last of the answer, ``(batch, tokens, 2)``."""
        found = self(batch)
        logits = torch.stack([found.start_logits, found.end_logits], -1)
        return logits.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, NEVER)  # padding must not change the loss

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        pairs = zip(logits.unbind(-1), batch["labels"].unbind(-1), strict=True)
        return torch.stack([self.loss(scores, labels) for scores, labels in pairs]).mean(0)

    # Answers

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """The best answers of each window, with their logits, and that of no answer, which is its first token's."""
        offsets = batch["metadata"]["offsets"].to(logits.device)
        starts, ends = logits.unbind(-1)
        values, first, last = best_spans(starts, ends, offsets[..., 0] >= 0, self.max_answer_tokens, self.n_best)
        places = (offsets[..., 0].gather(1, first), offsets[..., 1].gather(1, last), values, starts[:, 0] + ends[:, 0])
        windows = zip(batch["metadata"]["context"], *(place.tolist() for place in places), strict=True)
        return [_window(context, [*zip(*spans, strict=True)], null) for context, *spans, null in windows]

    def assemble(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The prediction of a row: its windows' best answer, and the scores of the others as probabilities."""
        spans: dict[tuple[int, int], dict[str, Any]] = {}
        for span in sorted((span for part in parts for span in part["scores"]), key=lambda span: -span["score"]):
            spans.setdefault((span["start"], span["end"]), span)
        null = min(part["null"] for part in parts)
        best = list(spans.values())[: self.n_best] or [_answer("", None, None, null)]
        values = [span["score"] for span in best] + ([null] if self.no_answer else [])
        shares = torch.tensor(values, dtype=torch.float64).softmax(0).tolist()
        scores = [{**span, "score": share} for span, share in zip(best, shares, strict=False)]
        if not self.no_answer:
            return {**scores[0], "scores": scores}
        return self._decided({**scores[0], "null_score": null - best[0]["score"], "scores": scores})

    def _decided(self, found: dict[str, Any]) -> dict[str, Any]:
        """A prediction with its best answer, or with none where its null score is above the threshold."""
        if found["null_score"] <= self.threshold:
            return {**found, **found["scores"][0]}
        return {**found, **_answer("", None, None, 1 - sum(span["score"] for span in found["scores"]))}

    @property
    def threshold(self) -> float:
        """The null score above which a question is left without answer."""
        return float(self.tuned_threshold) if self.no_answer_threshold == "best" else self.no_answer_threshold

    # Metrics

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        if not self.no_answer:
            return self._scores()
        if split == "val" and self.no_answer_threshold == "best":
            self._tune()
        return {**self._scores(), "no_answer_threshold": self.threshold}

    def _scores(self) -> dict[str, float]:
        return squad_scores([found["prediction"] for found in self.predictions.values()], list(self.references.values()))

    def _tune(self) -> None:
        found = list(self.predictions.values())
        texts = [one["scores"][0]["prediction"] for one in found]
        best, _ = best_threshold([one["null_score"] for one in found], texts, list(self.references.values()))
        self.tuned_threshold.fill_(best)
        self.predictions = {row: self._decided(one) for row, one in self.predictions.items()}


def best_spans(starts: Tensor, ends: Tensor, inside: Tensor, longest: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The spans of tokens with the highest sums of two scores.

    Args:
        starts: Scores of each token as the first, ``(batch, tokens)``.
        ends: Scores of each token as the last, ``(batch, tokens)``.
        inside: Which tokens a span may begin and end with, ``(batch, tokens)``.
        longest: Tokens of the longest span.
        count: Number of spans.

    Returns:
        Sums, first and last tokens of the best spans, ``(batch, count)`` each. Where there are fewer spans, the sums of the
        last ones are minus infinity and their last tokens the first ones.
    """
    longest = min(longest, starts.shape[1])
    later = functional.pad(ends.masked_fill(~inside, NEVER), (0, longest - 1), value=NEVER).unfold(1, longest, 1)
    sums = (starts.masked_fill(~inside, NEVER).unsqueeze(-1) + later).flatten(1)  # (batch, tokens * lengths)
    values, found = sums.topk(min(count, sums.shape[1]))
    first, length = found // longest, found % longest
    return values, first, first + length.masked_fill(values == NEVER, 0)


def _window(context: str, spans: list[tuple[int, int, float]], null: float) -> dict[str, Any]:
    found = [_trimmed(context, *span) for span in spans if span[2] > NEVER]
    found = [span for span in found if span["prediction"]]
    return {"prediction": found[0]["prediction"] if found else "", "null": null, "scores": found}


def _trimmed(context: str, start: int, end: int, score: float) -> dict[str, Any]:
    """The answer between two characters without the spaces around it, which some tokenizers count to their tokens."""
    text = context[start:end]
    return _answer(text.strip(), start + len(text) - len(text.lstrip()), start + len(text.rstrip()), score)


def _answer(text: str, start: int | None, end: int | None, score: float) -> dict[str, Any]:
    return {"prediction": text, "score": score, "start": start, "end": end}
