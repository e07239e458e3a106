"""What the studio shows of a run: its line in a list, its metrics and its config."""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from ftlit.errors import UserError
from ftlit.runs.files import CONFIG, METRICS, PREDICTIONS, PROGRESS, RECORD, RESULTS
from ftlit.runs.reading import INTERVAL, RunFolder, results_columns
from ftlit.runs.secrets import hidden
from ftlit.serve.problems import ProblemError
from ftlit.serve.studio.tree import is_file, own_file
from ftlit.util.files import read_whole
from ftlit.util.render.formats import interval, number
from ftlit.util.settings import parse_yaml

READ = (CONFIG, RECORD, RESULTS, METRICS, PROGRESS)  # files of a run
SPLITS = ("test", "validation")
SILENT = 60  # seconds without progress after which a run that should be running is doubted
LONGEST = 200  # characters of a value in a list
DEEPEST, MOST = 1_000_000, 50_000  # characters of a config, and values in it
T = TypeVar("T")


class StudioRun(RunFolder):
    """A run of the studio.

    Args:
        folder: Its folder.
        path: The path of the folder below that of the studio.

    Raises:
        ProblemError: There is no run in the folder, or a file of it is a link.
    """

    def __init__(self, folder: Path, path: str) -> None:
        super().__init__(folder)
        self.path, self.name = path, folder.name
        if not is_file(folder / RECORD):
            raise ProblemError(404, f"there is no run in {path!r}")
        for name in READ:
            if (folder / name).is_symlink() or ((folder / name).exists() and not is_file(folder / name)):
                raise ProblemError(
                    403, f"{name} of the run {path!r} is a link or no usual file, which the studio does not read"
                )

    @cached_property
    def known(self) -> dict[str, Any]:
        """The record; empty if it is damaged."""
        return told(lambda: self.record)[0] or {}

    @property
    def state(self) -> str:
        """The status; for a run that should be running and has written nothing for a while, since when."""
        status = text(self.known.get("status", "damaged"))
        if status != "running":
            return status
        written = [path.stat().st_mtime for name in (RECORD, PROGRESS, METRICS) if (path := own_file(self.folder, name))]
        silent = time.time() - max(written, default=0)
        return status if silent < SILENT else f"running, but silent for {silent / 60:.0f} minutes"

    @property
    def live(self) -> bool:
        """Whether it is still running."""
        return self.state == "running"

    def splits(self) -> list[str]:
        """The splits with predictions."""
        return [split for split in SPLITS if own_file(self.folder, PREDICTIONS, f"{split}.jsonl")]

    def score(self) -> str:
        """The metric that early stopping watches, of test if it has been evaluated, such as ``accuracy 0.912 (test)``."""
        results = told(lambda: self.results)[0] or {}
        name = text(self.known.get("monitor") or "").rpartition("/")[2]
        split = next((split for split in SPLITS if isinstance(results.get(split, {}).get(name), int | float)), None)
        return f"{name} {number(results[split][name], 4)} ({split})" if split else ""

    def config_text(self) -> str:
        """The config as YAML, with secrets replaced by stars.

        Raises:
            UserError: It is damaged, or too large to be shown.
        """
        path = own_file(self.folder, CONFIG)
        return yaml_text(path) if path else ""


class Line(NamedTuple):
    """A run in a list.

    Attributes:
        path: Its path below the folder of the studio.
        name: Name of its folder.
        state: Its status.
        task: Its task.
        backbone: Its backbone.
        tuning: Its tuning method.
        seed: Its seed.
        score: Its score.
        started: When it was started.
        study: Whether it is a study, for which the rest is not known.
    """

    path: str
    name: str
    state: str = ""
    task: str = ""
    backbone: str = ""
    tuning: str = ""
    seed: str = ""
    score: str = ""
    started: str = ""
    study: bool = False


def line(run: StudioRun) -> Line:
    """The line of a run in a list."""
    task, backbone, tuning, seed, started = (
        text(run.known.get(key, "")) for key in ("task", "backbone", "tuning", "seed", "started")
    )
    short = backbone.rstrip("/").rpartition("/")[2]
    return Line(run.path, run.name, run.state, task, short, tuning.partition("(")[0], seed, run.score(), started)


def metrics_table(run: StudioRun) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table of metrics.

    Raises:
        UserError: results.json is damaged.
    """
    columns = {name: values for name, values in results_columns(run.results).items() if isinstance(values, dict)}
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    rows = [[name, *(_cell(column, values.get(name)) for column, values in columns.items())] for name in names]
    return ["metric", *columns], rows


def _cell(column: str, value: Any) -> str:
    if column == INTERVAL and isinstance(value, list) and len(value) == 2:
        return interval(value[0], value[1], 4)
    return number(value, 4) if isinstance(value, int | float) else "–"


def yaml_text(path: Path) -> str:
    """A config as YAML, with secrets replaced by stars; other files that it names are not read.

    Raises:
        UserError: It is damaged, or too large to be shown.
    """
    given = read_whole(path)
    too_large = UserError(f"{path.name} is too large to be shown")
    if len(given) > DEEPEST:
        raise too_large
    try:
        config = parse_yaml(given)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path.name} is not valid YAML") from error
    if _has_more_values(config, MOST):
        raise too_large
    return str(yaml.safe_dump(hidden(config), sort_keys=False, allow_unicode=True))


def _has_more_values(config: Any, most: int) -> bool:
    """Whether a config has more values than a number; one that is named in several places counts in each."""
    todo, count = [config], 0
    while todo and count <= most:
        value = todo.pop()
        count += 1
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return count > most


def told(read: Callable[[], T]) -> tuple[T | None, str | None]:
    """What is read from a file, or else None, and why it cannot be read, as a sentence."""
    try:
        return read(), None
    except UserError as error:
        return None, str(error)


def text(value: Any) -> str:
    """A value of a record as a short text."""
    return "" if value is None else str(value)[:LONGEST]
