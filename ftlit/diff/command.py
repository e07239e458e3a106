"""``python -m ftlit diff RUN_A RUN_B``: what differs between two runs, likeliest causes first, and what became of it."""

import argparse
import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NoReturn

from tabulate import tabulate

from ftlit.diff.metrics import SPLITS, MetricDifference, common_split, metric_differences, paired
from ftlit.diff.settings import Difference, differences
from ftlit.errors import UserError
from ftlit.exports.run import Run, open_run

SHOWN = 48  # characters of a value in the table
TWO_MODELS = (
    "The intervals are of these two trained models on other examples such as these; what their methods do on average "
    "takes several seeds: ftlit study."
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see ftlit diff --help")


def main(args: list[str]) -> None:
    """Do what the command line says.

    Args:
        args: What stands behind ``diff``.

    Raises:
        UserError: It cannot be read, or the folders cannot be compared.
    """
    parser = Parser("ftlit diff", description="What differs between two runs, and their metrics.", allow_abbrev=False)
    parser.add_argument("run_a", help="folder of a run")
    parser.add_argument("run_b", help="folder of another run")
    parser.add_argument("--split", choices=SPLITS, help="split of the metrics; by default test where both have it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(args)
    diff(given.run_a, given.run_b, given.split, given.json)


def diff(run_a: str, run_b: str, split: str | None = None, as_json: bool = False) -> None:
    """Print what differs between two runs.

    Args:
        run_a: Folder of a run.
        run_b: Folder of another; differences are its values less those of the first.
        split: Split of the metrics, by default test where both have it.
        as_json: Whether to print JSON instead of tables.

    Raises:
        UserError: A folder holds no run, or there are no results of the split.
    """
    found = compared(open_run(run_a), open_run(run_b), split)
    print(json.dumps(_finite(asdict(found)), indent=2, ensure_ascii=False) if as_json else text(found))


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        a: Folder of the first run.
        b: Folder of the second.
        differences: What they were made with that is not the same.
        split: The split of the metrics, None where none are compared.
        metrics: The metrics of both.
        notes: What limits the comparison, in sentences.
    """

    a: str
    b: str
    differences: list[Difference]
    split: str | None
    metrics: list[MetricDifference]
    notes: list[str]


def compared(a: Run, b: Run, split: str | None = None) -> Comparison:
    """Compare two runs.

    Raises:
        UserError: It is twice the same run, or one has no results of the split.
    """
    if a.folder.resolve() == b.folder.resolve():
        raise UserError(f"{a.folder} is given twice; give the folders of two runs")
    notes = _code_notes(a, b) + [_unfinished(run) for run in (a, b) if not run.finished]
    tasks = [str(run.record.get("task")) for run in (a, b)]
    if tasks[0] != tasks[1]:
        notes.append(f"The tasks are others, {tasks[0]} and {tasks[1]}, so that no metrics are compared.")
    comparable = tasks[0] == tasks[1] and a.finished and b.finished
    metrics: list[MetricDifference] = []
    if comparable:
        split = common_split(a, b, split)
        try:
            arms = paired(a, b, split)
        except UserError as error:
            arms = None
            notes.append(f"The differences of metrics have no intervals: {error}.")
        metrics = metric_differences(a, b, split, arms)
    return Comparison(str(a.folder), str(b.folder), differences(a, b), split if comparable else None, metrics, notes)


def _unfinished(run: Run) -> str:
    why = f" ({error})" if (error := run.record.get("error")) else ""
    status = f"{run.status or 'not recorded'}{why}"
    return f"{run.folder} is not finished, so that no metrics are compared: its status is {status}."


def _code_notes(a: Run, b: Run) -> list[str]:
    dirty = [str(run.folder) for run in (a, b) if (run.record.get("git") or {}).get("dirty")]
    if not dirty:
        return []
    return [f"{' and '.join(dirty)} ran with uncommitted changes, of the code, of which the commit tells nothing."]


def text(found: Comparison) -> str:
    """The comparison as tables."""
    parts = [f"A: {found.a}\nB: {found.b}", _settings_text(found.differences)]
    if found.metrics:
        parts.append(_metrics_text(found))
    if any(metric.low is not None for metric in found.metrics):
        parts.append(TWO_MODELS)
    return "\n\n".join([*parts, *found.notes])


def _settings_text(found: list[Difference]) -> str:
    if not found:
        return "Nothing differs in config, data, code, versions and hardware."
    rows = [[item.kind, item.key, _shown(item.a), _shown(item.b)] for item in found]
    table = tabulate(rows, headers=["", "key", "A", "B"], tablefmt="simple", disable_numparse=True)
    return f"What differs, likeliest causes first\n{table}"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN // 2]}…{shown[-SHOWN // 2 :]}"


def _metrics_text(found: Comparison) -> str:
    if all(metric.a == metric.b for metric in found.metrics):
        return f"Metrics of {found.split}: all {len(found.metrics)} are the same."
    rows = [
        [metric.metric, metric.a, metric.b, metric.difference, _interval(metric), metric.p, metric.test]
        for metric in found.metrics
    ]
    headers = ["metric", "A", "B", "B - A", "95% interval", "p", "test"]
    formats = ("", ".4f", ".4f", "+.4f", "", ".2g", "")
    return f"Metrics of {found.split}\n{tabulate(rows, headers=headers, floatfmt=formats, missingval='–', tablefmt='simple')}"


def _interval(metric: MetricDifference) -> str | None:
    return None if metric.low is None else f"{metric.low:+.4f} to {metric.high:+.4f}"


def _finite(value: Any) -> Any:
    """The same with null in the place of numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
