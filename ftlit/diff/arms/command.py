"""``python -m ftlit compare RUN...``: the statistics of studies for runs that were made by hand."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftlit.diff.arms.analysis import analysed
from ftlit.diff.arms.evidence import evidence_of_runs
from ftlit.diff.arms.grouping import RunArm, different_rows, grouped
from ftlit.diff.checks import EVALUATED_SPLITS, check_given_once, common_split, different_tasks, model_settings, unfinished
from ftlit.diff.printing import Parser, finite
from ftlit.errors import UserError
from ftlit.exports.run import Run, open_run
from ftlit.metrics.direction import lower_is_better
from ftlit.study.plan.settings import CompareSettings
from ftlit.study.statistics.compare import Analysis


def main(args: list[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``compare``.

    Raises:
        UserError: The arguments are wrong, or the runs cannot be compared.
    """
    parser = Parser(
        "ftlit compare",
        description="Group runs into arms by what differs in their configs apart from the seed, and compare the arms.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--baseline", help="name of the arm with which the others are compared; by default all pairs are")
    parser.add_argument("--metric", help="a metric of results.json; by default the one that the runs monitored")
    parser.add_argument("--split", choices=EVALUATED_SPLITS, help="the split; by default test if all runs have it")
    parser.add_argument("--margin", type=float, help="a difference that does not matter; arms within it are called the same")
    parser.add_argument(
        "--pairs",
        choices=("baseline", "all"),
        help="compare arms with the baseline, or all pairs; by default with the baseline if there is one",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = vars(parser.parse_args(args))
    as_json = given.pop("json")
    found = compare_runs(**given)
    if as_json:
        print(json.dumps(finite(as_dict(found)), indent=2, ensure_ascii=False))
    else:
        from ftlit.diff.arms.text import text

        print(text(found))


@dataclass(frozen=True)
class ArmComparison:
    """Arms of runs side by side.

    Attributes:
        arms: The arms.
        settings: What is compared.
        lower: Whether lower values of the metric are better.
        analysis: The statistics.
        notes: Sentences about the limits of the comparison.
    """

    arms: list[RunArm]
    settings: CompareSettings
    lower: bool
    analysis: Analysis
    notes: list[str]


def compare_runs(
    runs: Sequence[str],
    baseline: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    margin: float | None = None,
    pairs: str | None = None,
) -> ArmComparison:
    """Group runs into arms, and compare the arms.

    Args:
        runs: Folders of runs.
        baseline: Name of the arm with which the others are compared.
        metric: A metric of results.json; by default the one that the runs monitored.
        split: The split; by default test if all runs have it, else validation.
        margin: A difference that does not matter.
        pairs: `baseline` or `all`; by default `baseline` if there is one.

    Raises:
        UserError: The runs cannot be compared.
    """
    opened = [open_run(folder) for folder in runs]
    _check(opened)
    chosen = common_split(opened, split)
    name = metric or monitored(opened)
    settings = CompareSettings(name, baseline, pairs, margin, split="test" if chosen == "test" else "validation")
    arms = grouped(opened)
    evidence, notes = evidence_of_runs(arms, name, chosen)
    declared = opened[0].record.get("higher_is_better")
    return ArmComparison(
        arms, settings, lower_is_better(name, declared=declared), analysed(evidence, settings), [*notes, *different_rows(arms)]
    )


def _check(runs: Sequence[Run]) -> None:
    """Check that runs are several, each another, finished and of the same task.

    Raises:
        UserError: They are not.
    """
    check_given_once(runs)
    if len(runs) < 2:
        raise UserError(f"ftlit compare needs at least two runs, got only {runs[0].folder}")
    for run in runs:
        if not run.finished:
            raise UserError(unfinished(run))
        if different := different_tasks(runs[0], run):
            raise UserError(f"{runs[0].folder} and {run.folder} cannot be compared: {different[0].lower()}{different[1:]}")


def monitored(runs: Sequence[Run]) -> str:
    """The metric that all runs monitored on validation, without its split.

    Raises:
        UserError: They monitored different ones, or do not say which.
    """
    found = {run.record.get("monitor") or model_settings(run).get("monitor"): run for run in runs}
    if None in found:
        raise UserError(f"{found[None].folder} does not record which metric it monitored; name one, such as --metric accuracy")
    names = sorted({str(name).removeprefix("val/") for name in found})
    if len(names) > 1:
        raise UserError(f"the runs monitored different metrics ({', '.join(names)}); name one, such as --metric {names[0]}")
    return names[0]


def as_dict(found: ArmComparison) -> dict[str, Any]:
    """The comparison as JSON has it."""
    arms = [
        {
            "name": arm.name,
            "settings": arm.settings,
            "runs": [str(run.folder) for run in arm.runs.values()],
            **asdict(found.analysis.estimates[arm.name]),
        }
        for arm in found.arms
    ]
    return {
        "metric": found.settings.primary,
        "split": found.settings.split,
        "lower_is_better": found.lower,
        "margin": found.settings.margin,
        "arms": arms,
        "comparisons": [asdict(one) for one in found.analysis.comparisons],
        "notes": found.notes,
    }
