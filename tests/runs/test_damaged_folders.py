"""Damaged folders are refused with one sentence that names the file, and nothing is written."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from ftlit.__main__ import main
from tests.support.mistakes_folders import cases

EVERY = 17  # of the cases, so many run by default


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, list[str]]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        yield list(cases(tmp_path_factory.mktemp("damaged")))


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def wrong(name: str, args: list[str], folder: Path) -> str | None:
    """What is wrong with a refusal."""
    before, said, code = contents(folder), StringIO(), None
    try:
        with redirect_stderr(said), redirect_stdout(StringIO()):
            main(args)
    except SystemExit as left:
        code = left.code
    except Exception as error:
        return f"{name}: {type(error).__name__}: {str(error)[:300]}"
    lines = said.getvalue().splitlines()
    if code != 2 or not 1 <= len(lines) <= 2 or not lines[0].startswith("error: "):
        return f"{name}: left with {code}: {lines[:3]}"
    return f"{name}: changed files" if contents(folder) != before else None


@pytest.mark.parametrize("share", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_damaged_folders_are_refused(
    share: str, damaged: list[tuple[str, list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(tmp_path_factory.getbasetemp())
    chosen = damaged[:: EVERY if share == "some" else 1]
    assert len(damaged) > 100
    assert [found for name, args in chosen if (found := wrong(name, args, folder))] == []
    assert shutil.disk_usage(folder).free
