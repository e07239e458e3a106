"""The kinds of evidence that predictions can be: how each counts examples, and when it calls a prediction right.

A task names its kind in `TaskModule.evidence`, and run.json records it, so that subclasses of a task under any name get the
same statistics and the same report.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlit.metrics.evidence import labels, numbers, texts, words
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import Sums

CountExamples = Callable[[str, Sequence[Rows], Mapping[str, Any]], Sums | None]
IsRight = Callable[[Mapping[str, Any]], bool]
METRIC_SETTINGS = ("negative_label", "pattern", "pattern_select", "answer_rules")  # of tasks, which decide what metrics count


@dataclass(frozen=True)
class EvidenceKind:
    """A kind of evidence.

    Args:
        count: Returns what each example adds to a metric, given the metric's name, the predictions of each run and the
            task's ``init_args``; None for a metric that cannot be computed from the predictions.
        is_right: Whether the prediction of a row is right; None if predictions are not simply right or wrong.
    """

    count: CountExamples
    is_right: IsRight | None = None


EVIDENCE_KINDS = {
    "labels": EvidenceKind(labels.text_classification, labels.is_right),
    "relations": EvidenceKind(labels.relation_extraction, labels.is_right),
    "choices": EvidenceKind(labels.multiple_choice, labels.is_right),
    "values": EvidenceKind(numbers.text_regression),
    "tags": EvidenceKind(words.token_classification, words.is_right),
    "answers": EvidenceKind(texts.question_answering, texts.is_right),
    "texts": EvidenceKind(texts.seq2seq),
    "replies": EvidenceKind(texts.causal_lm),
    "tokens": EvidenceKind(texts.masked_lm),
}


def why_no_evidence(task: str, kind: str | None) -> str | None:
    """Why the predictions of a task are not evidence of a known kind, as a clause; None if they are.

    Args:
        task: Name of the task's class.
        kind: The kind that its run record names.
    """
    if kind is None:
        return f"the task {task} declares no kind of evidence"
    if kind not in EVIDENCE_KINDS:
        return f"the task {task} declares evidence of the kind {kind!r}, and the known kinds are {', '.join(EVIDENCE_KINDS)}"
    return None
