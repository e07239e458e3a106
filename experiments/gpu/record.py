"""What was found: gpu.json, which a second start reads, and gpu.md for people, both written anew after every check."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from report import report

DONE = ("ok", "skipped")


class Record:
    """The findings so far; those of another machine are replaced.

    Args:
        folder: Where gpu.json and gpu.md are.
        command: How the script was started.
        device: Name of the GPU, or ``CPU`` for a dry run.
        names: The checks, in order.
        anew: Whether to forget earlier findings.
    """

    def __init__(self, folder: Path, command: list[str], device: str, names: list[str], anew: bool) -> None:
        self.folder = folder
        self.content: dict[str, Any] = {"schema": 1, "command": shlex.join(command), "device": device, "machine": {}}
        self.content["checks"] = {name: {"status": "not reached"} for name in names}
        file = folder / "gpu.json"
        earlier = json.loads(file.read_text("utf-8")) if file.is_file() and not anew else {}
        if earlier.get("device") == device:
            self.content["machine"] = earlier["machine"]
            self.content["checks"] |= {name: found for name, found in earlier["checks"].items() if name in names}

    def done(self, name: str) -> bool:
        """Whether a check was done before."""
        return self.content["checks"][name]["status"] in DONE

    @property
    def failed(self) -> list[str]:
        """The checks that failed."""
        return [name for name, found in self.content["checks"].items() if found["status"] == "failed"]

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Take in the outcome of a check and write both files."""
        self.content["machine"] = found.pop("machine", None) or self.content["machine"]
        self.content["checks"][name] = {**found, "commit": commit()}
        self.write()

    def write(self) -> None:
        """Write both files, each beside its place and renamed, so that neither is ever seen half."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.folder / "gpu.json", json.dumps(self.content, indent=2) + "\n")
        _replace(self.folder / "gpu.md", report(self.content))


def commit() -> str | None:
    """The commit of the code that is checked, None outside a repository."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
