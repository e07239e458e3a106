"""Runs that are compared with each other."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.run_folders import Make, write_run


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run folder and gives its name."""

    def write(name: str, *args: Any, **options: Any) -> str:
        return write_run(tmp_path / name, *args, **options)

    return write
