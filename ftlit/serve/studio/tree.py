"""Folders and files below the studio's folder. No link is followed, and no name leads out of it."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ftlit.runs.files import RECORD
from ftlit.serve.problems import ProblemError

STUDY = "study.json"  # the record of a study
CELLS = "cells"  # the folder of its runs
DEEPEST = 8  # folders below that of the studio
MOST = 50_000  # folders that are looked into
LARGEST = 1_000_000_000  # bytes of a file


class Tree:
    """The folder of the studio.

    Args:
        root: Its path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def folder(self, path: str) -> Path:
        """A folder by its path below the root, with ``/`` between names.

        Raises:
            ProblemError: There is no such folder, or a link leads to it.
        """
        found = self.root
        for name in path.split("/"):
            if name in ("", ".", "..") or "\0" in name or not _is(found / name, stat.S_ISDIR):
                raise ProblemError(404, f"there is no folder {path!r} here")
            found = found / name
        return found

    def path(self, folder: Path) -> str:
        """The path of a folder below the root."""
        return folder.relative_to(self.root).as_posix()

    def found(self) -> Iterator[tuple[Path, bool]]:
        """The folders of runs and studies with whether it is a study; those of the runs of studies are not among them."""
        todo, looked = [(self.root, 0)], 0
        while todo and looked < MOST:
            folder, depth = todo.pop()
            looked += 1
            if depth and (is_study(folder) or is_run_folder(folder)):
                yield folder, is_study(folder)
            elif depth < DEEPEST:
                todo += [(inner, depth + 1) for inner in reversed(folders_in(folder))]

    def runs_of(self, study: Path) -> list[Path]:
        """The folders of the runs of a study."""
        cells = study / CELLS
        return [folder for folder in folders_in(cells) if is_run_folder(folder)] if _is(cells, stat.S_ISDIR) else []


def is_run_folder(folder: Path) -> bool:
    """Whether a folder has the record of a run."""
    return is_file(folder / RECORD)


def is_study(folder: Path) -> bool:
    """Whether a folder has the record of a study."""
    return is_file(folder / STUDY)


def is_file(path: Path) -> bool:
    """Whether there is a file of usual size at a path, rather than a link, a device or nothing."""
    return _is(path, stat.S_ISREG) and path.stat().st_size <= LARGEST


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def own_file(folder: Path, *names: str) -> Path | None:
    """A file of a run or a study; None if it is not there, or it or a folder on the way is a link.

    Args:
        folder: The folder of the run or the study.
        *names: The names of the folders on the way, and of the file.
    """
    path = folder
    for name in names[:-1]:
        path = path / name
        if not _is(path, stat.S_ISDIR):
            return None
    return path / names[-1] if is_file(path / names[-1]) else None


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder by name, without links, hidden ones, and those whose names are no texts."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if _is_text(name)]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def stamp(*paths: Path | None) -> tuple[tuple[int, int], ...]:
    """What changes when one of some files does."""
    states = [path.stat() for path in paths if path is not None]
    return tuple((state.st_mtime_ns, state.st_size) for state in states)
