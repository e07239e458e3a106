"""Mistakes in configs, data and folders: each must leave with code 2 and at most two lines, and change no file.

    python -m tests.support.mistakes

runs all of them and writes `experiments/results/mistakes.md`. Each module of `KINDS` makes the cases of one kind.
"""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ftlit.__main__ import main

RESULTS = Path("experiments/results/mistakes.md")
KINDS = {
    "config": "tests.support.mistakes_config",
    "data": "tests.support.mistakes_data",
    "folders": "tests.support.mistakes_folders",
}
SECONDS = 60
AS_PROCESS = 50  # of so many cases, one runs as a process of its own
LINES = 2


@dataclass(frozen=True)
class Case:
    """A command that must be refused.

    Args:
        kind: Whether the mistake is one of configs, of data or of folders.
        name: What is wrong.
        args: Arguments of ``ftlit``.
        folder: The folder whose files must stay as they are.
    """

    kind: str
    name: str
    args: list[str]
    folder: Path


def all_cases(folder: Path) -> list[Case]:
    """The cases of all kinds whose modules there are."""
    found = []
    for kind, module in KINDS.items():
        if importlib.util.find_spec(module) is not None:
            own = folder / kind
            own.mkdir()
            found += [Case(kind, name, args, own) for name, args in importlib.import_module(module).cases(own)]
    return found


def problem(case: Case, in_process: bool = True) -> str | None:
    """What is wrong with the refusal of a mistake; None if nothing is."""
    before, began = contents(case.folder), time.monotonic()
    code, said = run_here(case.args) if in_process else run_process(case.args)
    if time.monotonic() - began > SECONDS:
        return f"took more than {SECONDS} s"
    changed = {name for name, _ in before ^ contents(case.folder)}
    if code != 2:
        return f"left with {code}: {said.strip().splitlines()[-1:]}"
    if len(lines := said.splitlines()) > LINES or not lines[0].startswith("error: "):
        return f"{len(lines)} lines: {lines[:3]}"
    return f"changed {sorted(changed)[:3]}" if changed else None


def contents(folder: Path) -> set[tuple[str, tuple[int, int]]]:
    """The files and folders below a folder, with their sizes and times of change."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return {(str(path), (path.lstat().st_size, path.lstat().st_mtime_ns)) for path in paths} | {
        (str(path), (0, 0)) for path in folder.rglob("*") if path.is_dir()
    }


def run_here(args: list[str]) -> tuple[Any, str]:
    """Run a command in this process; returns its exit code, or the error that it ended with, and what it wrote to stderr."""
    said = io.StringIO()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main(args)
        return 0, said.getvalue()
    except SystemExit as left:
        return left.code, said.getvalue()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200], said.getvalue()
    finally:
        signal.alarm(0)


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def run_process(args: list[str]) -> tuple[int, str]:
    """Run a command as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "ftlit", *args], capture_output=True, text=True, timeout=4 * SECONDS, check=False
    )
    return done.returncode, done.stderr


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Work in a folder, with the caches of libraries outside of what is watched."""
    names = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{folder}/cache", "WANDB_MODE": "offline"}
    kept = {name: os.environ.get(name) for name in names}
    (folder / "here").mkdir()
    with contextlib.chdir(folder / "here"):
        os.environ.update(names)
        try:
            yield
        finally:
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


HEAD = f"""# Mistakes and how they are refused

    python -m tests.support.mistakes

Right is exit code 2, at most {LINES} lines, no file changed, within {SECONDS} s.
Every {AS_PROCESS}th case is a process of its own.

"""


def report(found: list[tuple[Case, str | None]]) -> str:
    """The counts by kind and each failure, in Markdown."""
    kinds = dict.fromkeys(case.kind for case, _ in found)
    rows = [[kind, *_counts([why for case, why in found if case.kind == kind])] for kind in kinds]
    rows.append(["all", *_counts([why for _, why in found])])
    table = tabulate(rows, ["mistakes in", "tried", "refused rightly"], tablefmt="pipe")
    failures = [f"- {case.kind}: {case.name}: {why}" for case, why in found if why]
    return f"{HEAD}{table}\n\n" + ("\n".join(failures) or "None was refused in another way.") + "\n"


def _counts(problems: list[str | None]) -> list[int]:
    return [len(problems), sum(found is None for found in problems)]


def run_all() -> None:
    """Run all cases, write the report, and exit with code 1 if one fails."""
    results, found = RESULTS.absolute(), list[tuple[Case, str | None]]()
    with tempfile.TemporaryDirectory() as name, elsewhere(Path(name)):
        for i, case in enumerate(all_cases(Path(name)), start=1):
            found.append((case, problem(case, in_process=i % AS_PROCESS != 0)))
            if found[-1][1]:
                print(f"{case.kind}: {case.name}: {found[-1][1]}", flush=True)
    results.write_text(report(found), encoding="utf-8")
    raise SystemExit(1 if any(why for _, why in found) else 0)


if __name__ == "__main__":
    run_all()
