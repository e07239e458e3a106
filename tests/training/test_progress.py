"""What training shows: a bar in a terminal, a line an epoch in a file, and never a value that is not known yet."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ftlit.__main__ import main
from ftlit.training.cost import Cost
from ftlit.training.loss_log import LossLog
from ftlit.training.progress import EpochLines, RunProgressBar, progress_display, shown_values
from tests.support.command_line import arguments


def test_a_line_an_epoch_where_the_output_is_no_terminal(
    tiny: Callable[[str], str],
    sentiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "trainer__max_epochs": 2}
    shown = {"trainer__enable_progress_bar": "true", "trainer__log_every_n_steps": 15}
    main(arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path, **given, **shown))
    lines = [line for line in re.split("[\r\n]", capsys.readouterr().out) if line.startswith("epoch ")]
    assert len(lines) == 2
    assert re.fullmatch(r"epoch 1 of 2, step 11 of 22: val/accuracy 0\.\d{4}, examples/s \d+", lines[0])
    assert re.fullmatch(r"epoch 2 of 2, step 22 of 22: loss \d\.\d{3}, val/accuracy 0\.\d{4}, examples/s \d+", lines[1])


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_display(LossLog(), Cost(), "val/loss"), EpochLines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(progress_display(LossLog(), Cost(), "val/loss"), RunProgressBar)


def test_values_that_are_not_known_are_left_out() -> None:
    trainer, loss = SimpleNamespace(callback_metrics={}, world_size=1), LossLog()
    assert shown_values(trainer, loss, Cost(), "val/loss") == {"examples/s": "0"}
    loss.latest, trainer.callback_metrics = 0.5, {"val/loss": torch.tensor(0.25)}
    assert shown_values(trainer, loss, Cost(), "val/loss") == {"loss": "0.500", "val/loss": "0.2500", "examples/s": "0"}
