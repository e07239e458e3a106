"""Extractive question answering: the part of a text that answers a question (SQuAD, Rajpurkar et al. 2016 and 2018)."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForQuestionAnswering

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import CrossEntropy, Loss
from ftlit.metrics.squad import AnswerRules, answer_signature, best_threshold, default_rules, squad_scores
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Evaluator

NEVER = float("-inf")


class QuestionAnswering(TaskModule):
    """Predicts the part of a context that answers a question.

    Args:
        n_best: Number of answers to keep for each question.
        max_answer_tokens: Maximum number of tokens of an answer.
        no_answer: Taken from the data: whether a question may have no answer.
        no_answer_threshold: A question is left unanswered if the score of no answer exceeds that of the best answer by more
            than this. `best` uses the value with the best F1 in each validation.
        answer_rules: How answers are compared: as in SQuAD (squad), by characters as MLQA does for Chinese (characters), or by
            the longest common part as in CMRC 2018 (cmrc). By default by characters if most right answers of the split have
            Chinese or Japanese characters, else as in SQuAD.
    """

    evidence: ClassVar[str | None] = "answers"
    auto_class = AutoModelForQuestionAnswering
    takes_teacher = True
    lesson_unit = "token"
    smoothed: ClassVar[bool] = False  # some of what competes is padding, without probability
    tuned_threshold: Tensor
    corpus_metric_names = ("exact_match", "f1")

    def __init__(
        self,
        n_best: int = 20,
        max_answer_tokens: int = 30,
        no_answer: bool = False,
        no_answer_threshold: float | Literal["best"] = "best",
        answer_rules: AnswerRules | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_best, self.max_answer_tokens = n_best, max_answer_tokens
        self.no_answer, self.no_answer_threshold, self.answer_rules = no_answer, no_answer_threshold, answer_rules
        if isinstance(self.head, PooledHead):
            raise UserError("model.head: PooledHead has one vector per text, but QuestionAnswering scores tokens; use TaskHead")
        self.register_buffer("tuned_threshold", torch.tensor(0.0, dtype=torch.float64))

    def model_config(self) -> dict[str, Any]:
        return {"num_labels": 2}

    @property
    def constant_prediction(self) -> str | None:
        """No answer, where questions may have none."""
        return "" if self.no_answer else None

    @property
    def default_monitor(self) -> str:
        return "val/f1"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return the scores of each token as first and as last token of the answer, ``(batch, tokens, 2)``."""
        found = self(batch)
        logits = torch.stack([found.start_logits, found.end_logits], -1)
        return logits.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, NEVER)  # padding must not change the loss

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        pairs = zip(logits.unbind(-1), batch["labels"].unbind(-1), strict=True)
        return torch.stack([self.loss(scores, labels) for scores, labels in pairs]).mean(0)

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the scores of all tokens without padding, in row order, ``(tokens, 2)``."""
        return self.logits(batch)[batch["attention_mask"].bool()]

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the mean of the divergences of an answer's first and last token, distributed over the tokens of a window."""
        theirs = lessons.new_full(logits.shape, NEVER)
        theirs[batch["attention_mask"].bool()] = lessons
        pairs = zip(logits.unbind(-1), theirs.unbind(-1), strict=True)
        return torch.stack([self.distillation.of_possible(*pair) for pair in pairs]).mean(0)

    # Answers

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the best answers of each window with their logits, and the logit of no answer, that of the first token."""
        offsets = batch["metadata"]["offsets"].to(logits.device)
        starts, ends = logits.unbind(-1)
        values, first, last = best_spans(starts, ends, offsets[..., 0] >= 0, self.max_answer_tokens, self.n_best)
        places = (offsets[..., 0].gather(1, first), offsets[..., 1].gather(1, last), values, starts[:, 0] + ends[:, 0])
        windows = zip(batch["metadata"]["context"], *(place.tolist() for place in places), strict=True)
        return [_window(context, [*zip(*spans, strict=True)], null) for context, *spans, null in windows]

    def prediction_types(self) -> dict[str, Any]:
        answer = {"prediction": str, "score": float, "start": int, "end": int}
        return {**answer, **({"null_score": float} if self.no_answer else {}), "scores": [answer]}

    def merge_windows(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the best answer of all windows of a row, with the scores of all answers as probabilities."""
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
        """Return a prediction with its best answer, or without an answer if its null score is above the threshold."""
        if found["null_score"] <= self.threshold:
            return {**found, **found["scores"][0]}
        return {**found, **_answer("", None, None, 1 - sum(span["score"] for span in found["scores"]))}

    @property
    def threshold(self) -> float:
        """The null score above which a question is left unanswered."""
        return float(self.tuned_threshold) if self.no_answer_threshold == "best" else self.no_answer_threshold

    # Metrics

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        if not self.no_answer:
            return self._scores(evaluation)
        if evaluation.split == "val" and self.no_answer_threshold == "best":
            self._tune(evaluation)
        return {**self._scores(evaluation), "no_answer_threshold": self.threshold}

    def _tune(self, evaluation: Evaluator) -> None:
        """Set the threshold with the best F1, and apply it to the predictions."""
        found, references = list(evaluation.predictions.values()), list(evaluation.references.values())
        texts = [one["scores"][0]["prediction"] for one in found]
        best, _ = best_threshold([one["null_score"] for one in found], texts, references, self._rules(evaluation))
        self.tuned_threshold.fill_(best)
        evaluation.predictions = {row: self._decided(one) for row, one in evaluation.predictions.items()}

    def _rules(self, evaluation: Evaluator) -> AnswerRules:
        return self.answer_rules or default_rules(evaluation.references.values())

    def _scores(self, evaluation: Evaluator) -> dict[str, float]:
        texts = [found["prediction"] for found in evaluation.predictions.values()]
        return squad_scores(texts, list(evaluation.references.values()), self._rules(evaluation))

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        return {"signatures": {"f1": answer_signature(self._rules(evaluation))}}


def best_spans(starts: Tensor, ends: Tensor, inside: Tensor, longest: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The spans of tokens with the highest sums of two scores.

    Args:
        starts: Score of each token as the first one of a span, ``(batch, tokens)``.
        ends: Score of each token as the last one of a span, ``(batch, tokens)``.
        inside: Whether a span may begin or end with a token, ``(batch, tokens)``.
        longest: Maximum number of tokens of a span.
        count: Number of spans.

    Returns:
        Sums, first and last tokens of the best spans, ``(batch, count)`` each. If there are fewer spans, the remaining sums
        are minus infinity, and the last tokens equal the first ones.
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
    """The answer between two characters, without the spaces that some tokenizers include in its tokens."""
    text = context[start:end]
    return _answer(text.strip(), start + len(text) - len(text.lstrip()), start + len(text.rstrip()), score)


def _answer(text: str, start: int | None, end: int | None, score: float) -> dict[str, Any]:
    return {"prediction": text, "score": score, "start": start, "end": end}
