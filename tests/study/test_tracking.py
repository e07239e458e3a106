"""Cells in Weights & Biases."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.__main__ import main
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.runner import Runner
from ftlit.study.state.folder import Folder
from ftlit.study.state.tracking import grouped
from ftlit.util.settings import value_at, with_value
from tests.support.study.launched import opened, six_cells


def tracked(tmp_path: Path, model: str, data: str) -> Plan:
    """A study whose cells log to Weights & Biases, offline."""
    six_cells(tmp_path, model, data)
    file = tmp_path / "six.yaml"
    study = yaml.safe_load(file.read_text())
    logger = {"class_path": "WandbLogger", "init_args": {"project": "tests", "offline": True}}
    study = with_value(with_value(study, "base.trainer.logger", logger), "seeds", 1)
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return Plan(read_study(file))


def test_cells_are_runs_of_the_group(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = tracked(tmp_path, tiny(), sentiment)
    cell = plan.repetitions(plan.arms[1], {})[0]
    logger = value_at(grouped(cell, "six"), "trainer.logger")
    assert value_at(logger, "group") == "six"
    assert value_at(logger, "name") == "probe seed 0"
    assert value_at(logger, "dict_kwargs.config")["arm"] == "probe"
    assert "group" not in str(cell.config)  # the cell is the same without it
    both = with_value(cell.config, "trainer.logger", ["TensorBoardLogger", "WandbLogger"])
    plain, known = value_at(grouped(type(cell)(cell.arm, 0, {}, both), "six"), "trainer.logger")
    assert plain == "TensorBoardLogger"
    assert value_at(known, "group") == "six"


@pytest.mark.slow
def test_offline(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = tracked(tmp_path, tiny(), sentiment)
    folder: Folder = opened(plan)
    Runner(plan, folder, Local(Sharing(2)), str).run()
    found = list(folder.path.glob("cells/*/wandb/offline-run-*/*.wandb"))
    assert len(found) == 2
    text = b"".join(path.read_bytes() for path in found)
    assert b"probe seed 0" in text
    main(["study", "report", str(tmp_path / "six.yaml")])
