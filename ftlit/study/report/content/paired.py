"""What the runs of a block say on each example: evidence for the statistics, and who is right where."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.study.report.content.blocks import Block
from ftlit.study.report.render.formats import listed
from ftlit.study.state.runs import CellRun
from ftlit.study.statistics.compare import Evidence, per_seed
from ftlit.study.statistics.evidence import aligned, joint_evidence
from ftlit.util.settings import value_at

Rows = Sequence[dict[str, Any]]
GIVEN = ("id", "from", "bytes")  # what stands before the label and is no input
TOLERANCE = 1e-4  # of metrics that were computed in single precision


@dataclass(frozen=True)
class Examples:
    """The examples of a split, and who is right on them.

    Args:
        texts: Their inputs as one text each.
        labels: The right answers.
        right: Share of the seeds of each arm that are right, ``(arms, examples)``; None where nothing is simply right.
        arms: The arms by level, in the order of `right`.
    """

    texts: list[str]
    labels: list[Any]
    right: np.ndarray | None
    arms: list[str]

    def shares(self, arms: Sequence[str]) -> np.ndarray:
        """Share of the seeds that are right, ``(arms, examples)``, of some of the arms."""
        return np.zeros((0, len(self.texts))) if self.right is None else self.right[[self.arms.index(arm) for arm in arms]]

    @property
    def lengths(self) -> np.ndarray:
        """Characters of each input, ``(examples,)``."""
        return np.array([len(text) for text in self.texts])


@dataclass(frozen=True)
class Seen:
    """What is known of a block's arms.

    Args:
        evidence: Of each arm with repetitions, by level.
        examples: The examples, None where the evidence is a number a seed.
        notes: What readers have to know of it.
    """

    evidence: dict[str, Evidence]
    examples: Examples | None = None
    notes: list[str] = field(default_factory=list)


def seen(block: Block, metric: str, split: str) -> Seen:
    """The evidence of a block: by seed and example, or by seed alone where examples cannot be paired or do not matter."""
    arms = {label: runs.repetitions for label, runs in block.arms.items() if runs.repetitions}
    alone = {label: _alone(runs, metric, split) for label, runs in arms.items()}
    task = {run.record.get("task") for runs in arms.values() for run in runs}
    if len(task) != 1:
        return Seen(alone)
    try:
        return _paired(str(task.pop()), metric, split, arms, alone)
    except UserError as error:
        return Seen(alone, notes=[f"Seeds alone were compared, since predictions could not be paired: {error}."])


def _paired(task: str, metric: str, split: str, arms: Mapping[str, Sequence[CellRun]], alone: dict[str, Evidence]) -> Seen:
    """The evidence by seed and example.

    Raises:
        UserError: Predictions are missing, or are of other examples.
    """
    read = {(label, run.cell.seed): run.prediction_rows(split) for label, runs in arms.items() for run in runs}
    names = {f"{label} (seed {seed})": key for key in read for label, seed in [key]}
    rows = dict(zip(names.values(), aligned({name: read[key] for name, key in names.items()}).values(), strict=True))
    by_arm = {label: {run.cell.seed: rows[label, run.cell.seed] for run in runs} for label, runs in arms.items()}
    settings = value_at(next(iter(arms.values()))[0].cell.config, "model.init_args") or {}
    found = joint_evidence(task, metric, by_arm, settings)
    examples = _examples(task, by_arm)
    if found is None:
        return Seen(alone, examples, [f"{metric} does not follow from single predictions, so seeds alone were compared."])
    if odd := _strays(found, alone):
        text = f"The predictions of {listed(odd)} do not give the {metric} of their results, so seeds alone were compared."
        return Seen(alone, examples, [text])
    return Seen(found, examples)


def _alone(runs: Sequence[CellRun], metric: str, split: str) -> Evidence:
    values = [float(run.results[split].get(metric, float("nan"))) for run in runs]
    return per_seed(values, tuple(run.cell.seed for run in runs))


def _strays(found: Mapping[str, Evidence], alone: Mapping[str, Evidence]) -> list[str]:
    """Arms whose predictions give another metric than their results state."""
    return [
        label
        for label, evidence in found.items()
        if not np.allclose(evidence.scores, alone[label].scores, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    ]


# Who is right


def _examples(task: str, by_arm: Mapping[str, Mapping[int, Rows]]) -> Examples:
    first = next(iter(next(iter(by_arm.values())).values()))
    right = None
    if judge := JUDGES.get(task):
        shares = [np.mean([[judge(row) for row in rows] for rows in runs.values()], axis=0) for runs in by_arm.values()]
        right = np.array(shares)
    return Examples([_input(row) for row in first], [row.get("label") for row in first], right, list(by_arm))


def _input(row: Mapping[str, Any]) -> str:
    """The columns before the label: a text, a pair, words."""
    parts = []
    for key, value in row.items():
        if key == "label":
            break
        if key not in GIVEN:
            parts.append(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    return " ‖ ".join(parts)


def same(row: Mapping[str, Any]) -> bool:
    """Whether the label was found; several labels of a text are a set."""
    label, prediction = row["label"], row["prediction"]
    return set(label) == set(prediction) if isinstance(label, list) else bool(label == prediction)


def same_tags(row: Mapping[str, Any]) -> bool:
    """Whether all entities, or all tags, of a sentence were found."""
    if "tags" not in row:
        return bool(row["label"] == row["prediction"])
    said, true = ({(e["label"], e["start"], e["end"]) for e in row[key]} for key in ("prediction", "label"))
    return said == true


def same_answer(row: Mapping[str, Any]) -> bool:
    """Whether an answer is word for word one of the right ones."""
    from ftlit.metrics.squad import exact_match

    return exact_match(row["prediction"], row["label"]) == 1


JUDGES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "TextClassification": same,
    "RelationExtraction": same,
    "MultipleChoice": same,
    "TokenClassification": same_tags,
    "QuestionAnswering": same_answer,
}


def thirds(examples: Examples) -> dict[str, np.ndarray]:
    """The examples by length of their inputs, in three parts of about the same size; empty where lengths hardly differ."""
    lengths = examples.lengths
    if not len(lengths) or not lengths.max():
        return {}
    low, high = (int(end) for end in np.quantile(lengths, [1 / 3, 2 / 3]))
    parts = {
        f"≤ {low}": np.flatnonzero(lengths <= low),
        f"{low + 1} to {high}": np.flatnonzero((lengths > low) & (lengths <= high)),
        f"> {high}": np.flatnonzero(lengths > high),
    }
    return parts if all(len(part) for part in parts.values()) else {}


def by_label(examples: Examples, limit: int) -> dict[str, np.ndarray]:
    """The examples of each right answer where these are labels of few kinds, the most frequent ones first."""
    if not all(isinstance(label, str) for label in examples.labels):
        return {}
    names, places, counts = np.unique(np.array(examples.labels), return_inverse=True, return_counts=True)
    if not 1 < len(names) <= len(places) / 3:
        return {}
    return {str(names[i]): np.flatnonzero(places == i) for i in np.argsort(-counts, kind="stable")[:limit]}


def disputed(examples: Examples, arms: Sequence[str], limit: int) -> list[int]:
    """The examples on which the shares of right seeds differ most between some arms, most disputed first."""
    if examples.right is None or len(arms) < 2:
        return []
    spread = examples.shares(arms).var(axis=0)
    return [int(i) for i in np.argsort(-spread, kind="stable")[:limit] if spread[i] > 0]
