"""What a model answers to both texts of a pair, and what follows from many pairs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ftlit.insight.audit.pairs.answers import Answer, Comparer
from ftlit.insight.audit.statistics import UNKNOWN, mean, share
from ftlit.insight.audit.subject import Row, Subject

OUTCOMES = 20  # labels whose scores are compared, those with the highest means
PAIRS = ["source", "text", "group", "other", "before", "after", "changed", "distance", "scores", "cluster"]
SUMMARY = ["source", "rows", "pairs", "distance", "distance_low", "distance_high", "changed", "changed_low", "changed_high"]
EFFECTS = ["source", "group", "other", "outcome", "pairs", "difference", "low", "high", "verdict"]
DIFFERS, ALIKE, OPEN, FEW = "differs", "alike", "open", "few texts"
LEAST_TEXTS = 5  # about which a difference is told


@dataclass(frozen=True)
class Pair:
    """A text and its changed form.

    Args:
        source: Name of the lexicon or the test.
        cluster: The text or document that the pair is about.
        group: Group of the words before the change.
        other: Group of the words behind it.
        before: The row.
        after: The changed row.
        shown: The text with the change marked.
        words: The words that were replaced, with their replacements.
    """

    source: str
    cluster: Any
    group: str
    other: str
    before: Row
    after: Row
    shown: str
    words: Mapping[str, str] = field(default_factory=dict)


def compared(subject: Subject, sections: Mapping[str, tuple[Sequence[Pair], float]]) -> dict[str, pd.DataFrame]:
    """Ask the model for both texts of all pairs at once, and compare its answers.

    Args:
        subject: The run.
        sections: Pairs of each section, and by how much a predicted number may differ and still count as the same. A row that
            several pairs have is answered once.

    Returns:
        For each section a row for each pair, with the columns `PAIRS`. ``scores`` holds by how much each score rose.
    """
    pairs = [pair for some, _ in sections.values() for pair in some]
    rows = {_key(row): row for pair in pairs for row in (pair.before, pair.after)}
    answers = dict(zip(rows, subject.answers(list(rows.values())) if rows else [], strict=True))
    return {name: _frame(some, answers, subject.comparer(tolerance)) for name, (some, tolerance) in sections.items()}


def _key(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def _frame(pairs: Sequence[Pair], answers: Mapping[str, Answer], compare: Comparer) -> pd.DataFrame:
    found = []
    for pair in pairs:
        before, after = answers[_key(pair.before)], answers[_key(pair.after)]
        how = compare(before, after, pair.words)
        said = (shown_answer(before), shown_answer(after))
        found.append(
            (pair.source, pair.shown, pair.group, pair.other, *said, how.changed, how.distance, how.scores, pair.cluster)
        )
    return pd.DataFrame(found, columns=PAIRS)


def shown_answer(answer: Answer) -> str:
    """An answer in a few words."""
    said = answer["prediction"]
    if isinstance(said, float):
        return f"{said:.4g}"
    if isinstance(said, list):
        return ", ".join(f"{one['label']}: {one['text']}" if isinstance(one, dict) else str(one) for one in said) or "none"
    return str(said)


def summary(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """The mean distance of answers and the share of changed predictions of each source, with intervals.

    Args:
        frame: The pairs, from `compared`.
        level: The chance that an interval is wrong.
    """
    found = []
    for source, some in frame.groupby("source", sort=False):
        clusters = some["cluster"].tolist()
        apart, changed = mean(some["distance"], clusters, level), share(some["changed"], clusters, level)
        ends = (max(apart.low, 0.0), apart.high)
        found.append((source, len(set(clusters)), len(some), apart.value, *ends, changed.value, changed.low, changed.high))
    return pd.DataFrame(found, columns=SUMMARY)


def effects(frame: pd.DataFrame, labels: Sequence[str], tolerance: float, level: float) -> pd.DataFrame:
    """By how much each score is higher for the words of one group than for those of another.

    All intervals of a source hold together: each has the level divided by their number (Bonferroni). Two groups with fewer than
    `LEAST_TEXTS` texts have none.

    Args:
        frame: The pairs, from `compared`.
        labels: The scores to look at.
        tolerance: The difference that still counts as none.
        level: The chance that one of the intervals of a source is wrong.

    Returns:
        A row for each two groups and each score. ``difference`` is the score with words of ``other`` minus that with words of
        ``group``. ``verdict`` is `differs` if the interval is beyond the tolerance, `alike` if it is within, else `open`.
    """
    found = []
    for source, some in frame.groupby("source", sort=False):
        flipped = (some["group"] > some["other"]).to_numpy()
        ends = [(b, a) if flip else (a, b) for a, b, flip in zip(some["group"], some["other"], flipped, strict=True)]
        masks = {kind: np.array([end == kind for end in ends]) for kind in dict.fromkeys(ends)}
        texts = {kind: some["cluster"][mask].nunique() for kind, mask in masks.items()}
        family = max(1, len(labels) * sum(count >= LEAST_TEXTS for count in texts.values()))
        for kind, mask in masks.items():
            scores, clusters = some["scores"][mask], some["cluster"][mask].tolist()
            for label in labels:
                rises = np.array([one[label] for one in scores]) * np.where(flipped[mask], -1, 1)
                one = mean(rises, clusters, level / family)
                low, high = (one.low, one.high) if texts[kind] >= LEAST_TEXTS else UNKNOWN
                found.append((source, *kind, label, one.count, one.value, low, high, verdict_of(low, high, tolerance)))
    return pd.DataFrame(found, columns=EFFECTS)


def verdict_of(low: float, high: float, tolerance: float) -> str:
    """Whether an interval of a difference is beyond a tolerance, within it, or neither; or that there is none."""
    if low != low:
        return FEW
    if low > tolerance or high < -tolerance:
        return DIFFERS
    return ALIKE if -tolerance <= low and high <= tolerance else OPEN


def outcomes(subject: Subject, frame: pd.DataFrame) -> list[str]:
    """The scores to look at: of two labels the second, which the other mirrors; of many those that are predicted most often."""
    names = list(dict.fromkeys(name for scores in frame["scores"] for name in scores))
    if len(names) == 2 and not getattr(subject.task, "multi_label", False):
        return names[1:]
    return names if len(names) <= OUTCOMES else _commonest(frame, names)


def _commonest(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    counts = Counter(name for said in (*frame["before"], *frame["after"]) for name in {said, *said.split(", ")})
    return sorted(names, key=lambda name: -counts[name])[:OUTCOMES]
