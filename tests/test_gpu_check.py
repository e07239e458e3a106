"""The script for a GPU, tried on the CPU with tiny shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import ROOT


def check(*options: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Start the dry script, which must leave with a code; the content of gpu.json and what was printed.

    Args:
        *options: The first is the folder of the results.
        code: The expected exit code.
    """
    out, *more = options
    command = ["bash", str(ROOT / "experiments/gpu/check.sh"), "--dry", "--out", out, *more]
    done = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, cwd=out, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads((Path(out) / "gpu.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of models, data and runs."""
    return str(tmp_path_factory.mktemp("scratch"))


@pytest.mark.slow
def test_every_check_passes_once(tmp_path: Path, scratch: str) -> None:
    found, _ = check(str(tmp_path), "--scratch", scratch)
    states = {name: outcome["status"] for name, outcome in found["checks"].items()}
    assert {name for name, state in states.items() if state != "ok"} <= {"qlora", "deterministic"}
    skipped = {name: outcome["error"] for name, outcome in found["checks"].items() if outcome["status"] == "skipped"}
    assert all(skipped.values())
    assert found["checks"]["resume"]["figures"]["same_bits"] is True
    ratios = {pair for outcome in found["checks"].values() for pair in outcome["figures"].get("ratios", {})}
    assert ratios == {"ftlit / bare loop", "ftlit / Trainer"}
    page = (tmp_path / "gpu.md").read_text()
    assert "bash experiments/gpu/check.sh --dry" in page
    assert all(f"| {name} | {state} |" in page for name, state in states.items())
    again, said = check(str(tmp_path), "--scratch", scratch)
    assert again["checks"] == found["checks"]
    assert "..." not in said  # no check was begun


@pytest.mark.slow
def test_a_failing_check_stops_no_other(tmp_path: Path, scratch: str) -> None:
    found, _ = check(str(tmp_path), "--scratch", scratch, "--only", "peak", "bert_defaults", "--break", "peak", code=1)
    states = {name: found["checks"][name]["status"] for name in ("fit", "peak", "bert_defaults")}
    assert states == {"fit": "not reached", "peak": "failed", "bert_defaults": "ok"}
    assert found["checks"]["peak"]["error"] == "this check was told to fail"
    assert "### peak failed\n\n    this check was told to fail\n" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_it_stops_when_the_time_is_over(tmp_path: Path, scratch: str) -> None:
    found, said = check(str(tmp_path), "--scratch", scratch, "--minutes", "0.1")
    fit = found["checks"]["fit"]  # a fast machine completes it in six seconds
    assert fit["status"] == "ok" or fit["error"].startswith("the time was over 6 seconds after its beginning")
    assert found["checks"]["resume"] == {"status": "not reached"}
    assert "resume" not in said
