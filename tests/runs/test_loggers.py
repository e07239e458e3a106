"""A run in Weights & Biases is continued by --resume and by evaluations, not opened again."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

from ftlit.__main__ import main
from ftlit.runs.loggers import continue_tracking
from tests.support.command_line import arguments


def test_the_id_of_the_run_is_used_unless_the_config_has_one(tmp_path: Path) -> None:
    plain, own = WandbLogger(save_dir=tmp_path, offline=True), WandbLogger(save_dir=tmp_path, offline=True, id="mine")
    for record in ({}, {"wandb": None}, {"wandb": {"id": "known", "url": None}}):
        continue_tracking([plain, own], record)
    assert (plain.version, own.version) == ("known", "mine")
    assert (plain._wandb_init["id"], plain._wandb_init["resume"]) == ("known", "allow")


@pytest.mark.slow
def test_commands_continue_the_run(
    tiny: Callable[[str], str],
    sentiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import wandb

    monkeypatch.setattr(sys, "argv", ["ftlit"])
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "trainer__logger": "WandbLogger"}
    logger = {"trainer__logger__offline": "true", "trainer__logger__save_dir": tmp_path / "run"}
    main(arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path / "run", **given, **logger))
    known = json.loads((tmp_path / "run/run.json").read_text())["wandb"]
    assert f"Weights & Biases: offline run {known['id']}" in capsys.readouterr().out
    for command in (
        ["test", "--config", str(tmp_path / "run/config.yaml")],
        ["fit", "--resume", "--run_dir", str(tmp_path / "run")],
    ):
        wandb.finish()
        main(command)
        assert wandb.run is None or wandb.run.id == known["id"]
    wandb.finish()
    opened = {path.name.rsplit("-", 1)[1] for path in (tmp_path / "run/wandb").glob("offline-run-*")}
    assert opened == {known["id"]}
