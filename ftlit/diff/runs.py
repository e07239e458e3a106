"""Run folders, as `ftlit diff` reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.util.files import read_json
from ftlit.util.settings import read_yaml


@dataclass(frozen=True)
class Run:
    """The contents of a run folder.

    Attributes:
        name: The folder, as the user gave it.
        config: config.yaml.
        record: run.json.
        results: results.json.
    """

    name: str
    config: dict[str, Any]
    record: dict[str, Any]
    results: dict[str, Any]

    @property
    def task(self) -> str:
        """Name of the task's class."""
        return str(self.record.get("task"))

    @property
    def settings(self) -> dict[str, Any]:
        """The task's ``init_args``."""
        return (self.config.get("model") or {}).get("init_args") or {}

    @property
    def unfinished(self) -> str | None:
        """A sentence about why the run has no results, or None."""
        status = self.record.get("status")
        if status == "completed":
            return None
        why = f" ({error})" if (error := self.record.get("error")) else ""
        return f"{self.name} is not finished, so no metrics are compared: its status is {status or 'not recorded'}{why}."


def read_run(folder: str) -> Run:
    """Read a run folder.

    Raises:
        UserError: The folder holds no run.
    """
    path = Path(folder)
    if not path.is_dir():
        fact = "is a file" if path.exists() else "does not exist"
        raise UserError(f"{folder} {fact}; give the folder of a run, which is --run_dir of `python -m ftlit fit`")
    for name in ("config.yaml", "run.json"):
        if not (path / name).is_file():
            raise UserError(f"{folder} holds no run: it has no {name}{_inside(path)}")
    return Run(folder, read_yaml(path / "config.yaml"), read_json(path / "run.json"), read_json(path / "results.json"))


def _inside(path: Path) -> str:
    runs = sorted(str(file.parent) for file in path.glob("*/run.json"))
    return f"; there are runs in it: {', '.join(runs[:3])}{', …' if len(runs) > 3 else ''}" if runs else ""
