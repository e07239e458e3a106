"""``python -m ftlit diff RUN_A RUN_B``: the settings and metrics in which two runs differ, likeliest causes first."""

import json
from dataclasses import asdict, dataclass

from tabulate import tabulate

from ftlit.diff.checks import EVALUATED_SPLITS, check_given_once, common_split, different_tasks, unfinished
from ftlit.diff.metrics import MetricDifference, metric_differences, paired_predictions
from ftlit.diff.printing import MODELS, Parser, finite, short
from ftlit.diff.settings import Difference, differences
from ftlit.errors import DamagedFileError, UserError
from ftlit.exports.run import Run, open_run


def main(args: list[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``diff``.

    Raises:
        UserError: The arguments are wrong, or the folders cannot be compared.
    """
    parser = Parser("ftlit diff", description="Show the settings and metrics in which two runs differ.", allow_abbrev=False)
    parser.add_argument("run_a", help="folder of a run")
    parser.add_argument("run_b", help="folder of another run")
    parser.add_argument(
        "--split", choices=EVALUATED_SPLITS, help="split whose metrics are compared; by default test if both runs have it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(args)
    diff(given.run_a, given.run_b, given.split, given.json)


def diff(run_a: str, run_b: str, split: str | None = None, as_json: bool = False) -> None:
    """Print the differences between two runs.

    Args:
        run_a: Folder of a run.
        run_b: Folder of another run; a difference is its value minus that of the first run.
        split: Split whose metrics are compared; by default test if both runs have it.
        as_json: Whether to print JSON instead of tables.

    Raises:
        UserError: A folder holds no run, or a run has no results for the split.
    """
    found = compare_runs(open_run(run_a), open_run(run_b), split)
    print(json.dumps(finite(asdict(found)), indent=2, ensure_ascii=False) if as_json else text(found))


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        a: Folder of the first run.
        b: Folder of the second.
        differences: Settings, data, code, versions and hardware that are not the same.
        split: The split of the metrics; None if none are compared.
        metrics: The metrics of both runs.
        notes: Sentences about the limits of the comparison.
    """

    a: str
    b: str
    differences: list[Difference]
    split: str | None
    metrics: list[MetricDifference]
    notes: list[str]


def compare_runs(a: Run, b: Run, split: str | None = None) -> RunComparison:
    """Compare two runs.

    Raises:
        UserError: The two runs are the same, or one has no results for the split.
    """
    check_given_once([a, b])
    notes = _code_notes(a, b) + [f"{unfinished(run)}." for run in (a, b) if not run.finished]
    if different := different_tasks(a, b):
        notes.append(f"{different}, so no metrics are compared.")
    comparable = not different and a.finished and b.finished
    metrics: list[MetricDifference] = []
    if comparable:
        split = common_split([a, b], split)
        try:
            arms = paired_predictions(a, b, split)
        except DamagedFileError:
            raise
        except UserError as error:
            arms = None
            notes.append(f"The differences of metrics have no intervals: {error}.")
        metrics = metric_differences(a, b, split, arms)
    return RunComparison(str(a.folder), str(b.folder), differences(a, b), split if comparable else None, metrics, notes)


def _code_notes(a: Run, b: Run) -> list[str]:
    dirty = [str(run.folder) for run in (a, b) if (run.record.get("git") or {}).get("dirty")]
    if not dirty:
        return []
    return [f"{' and '.join(dirty)} ran with uncommitted changes, so the commit does not describe the code."]


def text(found: RunComparison) -> str:
    """Format the comparison as tables."""
    parts = [f"A: {found.a}\nB: {found.b}", _settings_text(found.differences)]
    if found.metrics:
        parts.append(_metrics_text(found))
    if any(metric.low is not None for metric in found.metrics):
        parts.append(MODELS)
    return "\n\n".join([*parts, *found.notes])


def _settings_text(found: list[Difference]) -> str:
    if not found:
        return "The runs do not differ in config, data, code, versions or hardware."
    rows = [[item.kind, item.key, short(item.a), short(item.b)] for item in found]
    table = tabulate(rows, headers=["", "key", "A", "B"], tablefmt="simple", disable_numparse=True)
    return f"Differences, likeliest causes first\n{table}"


def _metrics_text(found: RunComparison) -> str:
    if all(metric.a == metric.b for metric in found.metrics):
        return f"Metrics on {found.split}: all {len(found.metrics)} are the same."
    rows = [
        [metric.metric, metric.a, metric.b, metric.difference, _interval(metric), metric.p, metric.test]
        for metric in found.metrics
    ]
    headers = ["metric", "A", "B", "B - A", "95% interval", "p", "test"]
    formats = ("", ".4f", ".4f", "+.4f", "", ".2g", "")
    return f"Metrics on {found.split}\n{tabulate(rows, headers=headers, floatfmt=formats, missingval='–', tablefmt='simple')}"


def _interval(metric: MetricDifference) -> str | None:
    return None if metric.low is None else f"{metric.low:+.4f} to {metric.high:+.4f}"
