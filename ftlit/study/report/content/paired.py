"""The predictions of a block's runs, paired by seed and example: the evidence for the statistics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from ftlit.errors import DamagedFileError, UserError
from ftlit.metrics.evidence import aligned, why_no_evidence
from ftlit.metrics.evidence.rows import Rows
from ftlit.runs.reading import RunFolder
from ftlit.study.report.content.blocks import Block
from ftlit.study.report.content.examples import BlockExamples, block_examples
from ftlit.study.state.runs import CellRun
from ftlit.study.statistics.evidence import joint_evidence
from ftlit.study.statistics.runs import Evidence, per_seed
from ftlit.util.render.formats import listed
from ftlit.util.settings import value_at

LONG, MANY = 40, 0.2  # characters of a text, and share of the rows, from which shared texts are told
SCORE_TOLERANCE = 1e-4  # metrics are computed in single precision


@dataclass(frozen=True)
class PairedEvidence:
    """The evidence of a block's arms.

    Args:
        evidence: Evidence of each arm with repetitions, by level.
        examples: The examples; None if only seeds can be compared.
        notes: What readers have to know about the evidence.
    """

    evidence: dict[str, Evidence]
    examples: BlockExamples | None = None
    notes: list[str] = field(default_factory=list)


def paired_evidence(block: Block, metric: str, split: str) -> PairedEvidence:
    """The evidence of a block: by seed and example, or by seed only if the predictions cannot be paired by example."""
    arms = {label: {run.cell.seed: run for run in runs.repetitions} for label, runs in block.arms.items() if runs.repetitions}
    known = {label: by_seed(runs, metric, split) for label, runs in arms.items()}
    if not arms:
        return PairedEvidence(known)
    runs = [run for seeds in arms.values() for run in seeds.values()]
    kind, reason = common_kind(runs)
    if kind is None:
        return PairedEvidence(known, notes=[f"Only seeds were compared, because {reason}."])
    try:
        rows = _aligned_rows(arms, split)
        found, notes = counted(kind, metric, rows, known, value_at(runs[0].cell.config, "model.init_args") or {})
    except DamagedFileError:
        raise
    except UserError as error:
        note = f"Only seeds were compared, because the predictions could not be paired: {error}."
        return PairedEvidence(known, notes=[note])
    return PairedEvidence(found, block_examples(kind, rows), notes)


def common_kind(runs: Sequence[RunFolder]) -> tuple[str | None, str]:
    """The kind of evidence that all runs have in common, or None and the reason why they have none."""
    tasks = {run.record.get("evidence"): str(run.record.get("task")) for run in runs}
    for kind, task in tasks.items():
        if reason := why_no_evidence(task, kind):
            return None, reason
    if len(tasks) > 1:
        return None, f"the predictions of {listed(sorted(tasks.values()))} are different kinds of evidence"
    return next(iter(tasks)), ""


def counted(
    kind: str,
    metric: str,
    rows: Mapping[str, Mapping[int, Rows]],
    known: dict[str, Evidence],
    settings: Mapping[str, Any],
) -> tuple[dict[str, Evidence], list[str]]:
    """The evidence of arms by seed and example, and notes; by seed only if the predictions do not lead to the metric.

    Args:
        kind: Kind of evidence of the predictions.
        metric: Name of the metric.
        rows: The predictions of each arm by seed.
        known: The evidence of each arm by seed only.
        settings: The task's ``init_args``.
    """
    found = joint_evidence(kind, metric, rows, settings)
    if found is None:
        return known, [f"{metric} cannot be computed from the saved predictions, so only seeds were compared."]
    if odd := _disagreeing(found, known):
        return known, [
            f"The predictions of {listed(odd)} do not lead to the {metric} in their results, so only seeds were compared."
        ]
    one = next(iter(found.values()))
    alike = shared_texts(next(iter(next(iter(rows.values())).values()))) if one.clusters is None else None
    return found, [alike] if alike else []


def shared_texts(rows: Rows) -> str | None:
    """A note on rows that share a long text, such as questions about one document, which are not independent."""
    inputs = takewhile(lambda name: name != "label", rows[0])  # what follows the label is not given
    for column in [name for name in inputs if isinstance(rows[0][name], str) and name != "id"]:
        times = Counter(text for row in rows if len(text := str(row.get(column))) >= LONG)
        shared = sum(count for count in times.values() if count > 1)
        if shared >= MANY * len(rows):
            return (
                f"{shared:,} of {len(rows):,} rows have the same {column!r} as another, so they may not be independent, and "
                "intervals too narrow: name the column of their document by data.group."
            )
    return None


def _aligned_rows(arms: Mapping[str, Mapping[int, CellRun]], split: str) -> dict[str, dict[int, Rows]]:
    """The predictions of each arm by seed, all in the same order of examples."""
    names = {f"{label} (seed {seed})": (label, seed) for label, runs in arms.items() for seed in runs}
    read = {name: arms[label][seed].prediction_rows(split) for name, (label, seed) in names.items()}
    found: dict[str, dict[int, Rows]] = {label: {} for label in arms}
    for name, rows in aligned(read).items():
        label, seed = names[name]
        found[label][seed] = rows
    return found


def by_seed(runs: Mapping[int, RunFolder], metric: str, split: str) -> Evidence:
    """The evidence of one arm's runs, by seed only."""
    return per_seed([float(run.results[split].get(metric, float("nan"))) for run in runs.values()], tuple(runs))


def _disagreeing(found: Mapping[str, Evidence], known: Mapping[str, Evidence]) -> list[str]:
    """Arms whose metric differs between the predictions and the results."""
    return [
        label
        for label, evidence in found.items()
        if not np.allclose(evidence.scores, known[label].scores, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE, equal_nan=True)
    ]
