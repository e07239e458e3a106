"""What the studio shows of a study: how many of its cells are done, their runs, what failed, and its report."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ftlit.serve.problems import ProblemError
from ftlit.serve.studio.runs import Line, StudioRun, line, text, told, yaml_text
from ftlit.serve.studio.tree import STUDY, Tree, is_study, own_file
from ftlit.util.files import read_json
from ftlit.util.render.formats import plural

REPORT = ("report", "report.html")
CONFIGS, FAILED = "configs", "failed"  # folders with a file for each cell


class Study(NamedTuple):
    """A study.

    Attributes:
        path: Its path below the folder of the studio.
        name: Its name.
        state: The number of its cells by state, as a sentence.
        runs: The runs of its cells.
        failed: The errors of cells by their names.
        file: Its settings as YAML.
        problem: Why they are not shown.
        report: Whether it has a report.
    """

    path: str
    name: str
    state: str
    runs: list[Line]
    failed: dict[str, str]
    file: str
    problem: str | None
    report: bool


def study(tree: Tree, folder: Path) -> Study:
    """A study by its folder.

    Raises:
        ProblemError: There is no study in the folder.
    """
    path = tree.path(folder)
    if not is_study(folder):
        raise ProblemError(404, f"there is no study in {path!r}")
    record, problem = told(lambda: read_json(folder / STUDY))
    file = own_file(folder, "study.yaml")
    shown, wrong = told(lambda: yaml_text(file) if file else "")
    failed = {name: _error(folder, name) for name in _names(folder, FAILED)}
    runs = [line(run) for run in readable(tree, tree.runs_of(folder))]
    state = state_text(folder, runs, failed)
    name = text((record or {}).get("name") or folder.name)
    return Study(path, name, state, runs, failed, shown or "", problem or wrong, own_file(folder, *REPORT) is not None)


def readable(tree: Tree, folders: Iterable[Path]) -> Iterator[StudioRun]:
    """The runs in some folders, without those that the studio refuses for a link in them."""
    for folder in folders:
        with suppress(ProblemError):
            yield StudioRun(folder, tree.path(folder))


def state_text(folder: Path, runs: list[Line], failed: dict[str, str]) -> str:
    """How many cells are in which state, among those that are known so far."""
    states = dict.fromkeys(_names(folder, CONFIGS), "pending")
    states |= {run.name: "done" if run.state == "completed" else run.state for run in runs}
    states |= dict.fromkeys(failed, "failed")
    counts = Counter(states.values())
    return f"{', '.join(f'{n} {state}' for state, n in counts.most_common()) or 'nothing'} of {plural(len(states), 'cell')}"


def report_text(tree: Tree, folder: Path) -> str:
    """The report of a study as HTML.

    Raises:
        ProblemError: It has none yet.
    """
    if not is_study(folder) or (path := own_file(folder, *REPORT)) is None:
        raise ProblemError(404, f"the study {tree.path(folder)!r} has no report yet")
    return path.read_text("utf-8", errors="replace")


def _names(folder: Path, part: str) -> list[str]:
    """The names of the cells that have a file in a folder of the study."""
    inner = folder / part
    if inner.is_symlink() or not inner.is_dir():
        return []
    return sorted(path.stem for path in inner.iterdir() if path.suffix in (".yaml", ".json"))


def _error(folder: Path, name: str) -> str:
    """The error of a cell."""
    path = own_file(folder, FAILED, f"{name}.json")
    record = (told(lambda: read_json(path))[0] if path else None) or {}
    return text(record.get("error", ""))
