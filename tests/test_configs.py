"""Every YAML file of the project is read by the parser of the command line."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.__main__ import main
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from tests.support.command_line import ROOT

GROUPS = sorted(path for path in (ROOT / "configs").glob("*/*.yaml"))
EXPERIMENTS = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "experiments").glob("*.yaml")])
MODEL = ["--model=TextClassification", "--model.backbone=x"]
DATA = ["--data=TextClassificationData", "--data.dataset=x"]


def parsed(args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    with pytest.raises(SystemExit) as left:
        main(["fit", *args, "--print_config"])
    shown = capsys.readouterr()
    assert left.value.code == 0, shown.err
    return yaml.safe_load(shown.out)


def holds(found: Any, content: Any) -> bool:
    """Whether a resolved config has all that a file says, class paths in full."""
    if isinstance(content, dict):
        return all(key in found and holds(found[key], value) for key, value in content.items())
    if isinstance(content, list):
        return len(found) == len(content) and all(map(holds, found, content))
    return found == content or (isinstance(content, str) and str(found).endswith(f".{content.rsplit('.', 1)[-1]}"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_parse(path: Path, capsys: Any, monkeypatch: Any) -> None:
    config = parsed(["--config", str(path)], capsys, monkeypatch)
    assert config["run_dir"] == f"runs/{path.stem}"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_studies_are_read(path: Path) -> None:
    plan = Plan(read_study(path))
    assert plan.study.folder == Path("runs/studies") / path.stem
    assert len({cell.name for arm in plan.arms for cell in plan.repetitions(arm, {})}) == len(plan.arms) * len(plan.study.seeds)


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_groups_parse(path: Path, capsys: Any, monkeypatch: Any) -> None:
    args = {
        "trainer": [f"--trainer={path}", *MODEL, *DATA],
        "tuning": [*MODEL, f"--model.tuning={path}", *DATA],
        "data": [*MODEL, f"--data={path}"],
        "callbacks": [*MODEL, *DATA, f"--trainer.callbacks+={path}"],
        "logger": [*MODEL, *DATA, f"--trainer.logger={path}"],
    }[path.parent.name]
    config = parsed(args, capsys, monkeypatch)
    content = yaml.safe_load(path.read_text())
    found = {
        "trainer": config["trainer"],
        "tuning": config["model"]["init_args"]["tuning"],
        "data": config["data"],
        "callbacks": (config["trainer"]["callbacks"] or [None])[-1],
        "logger": config["trainer"]["logger"],
    }[path.parent.name]
    assert holds(found, content)
