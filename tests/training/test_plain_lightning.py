"""Tasks and data modules in Lightning's own Trainer, without a run folder."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

import ftlit
from ftlit.errors import UserError

PLAIN: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_model_summary": False}


@pytest.fixture
def parts(tiny: Callable[[str], str], sentiment: str) -> tuple[Any, Any]:
    """A task and its data."""
    backbone = tiny("bert")
    seed_everything(0, verbose=False)
    data = ftlit.TextClassificationData(dataset=sentiment, backbone=backbone, batching=ftlit.LengthGrouped(batch_size=8))
    return ftlit.TextClassification(backbone=backbone, **data.task_arguments()), data


def logged(folder: Path) -> dict[int, float]:
    """The losses that Lightning's own logger has written, by step."""
    with next(folder.rglob("metrics.csv")).open() as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}


class Added(Callback):
    """The losses of batches, added up to those of steps by hand, and what a progress bar is given."""

    def __init__(self, accumulate: int) -> None:
        self.accumulate, self.steps, self.bar = accumulate, dict[int, float](), dict[int, float]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batch_idx // self.accumulate
        self.steps[step] = self.steps.get(step, 0.0) + float(outputs["loss"])
        if "train/loss" in trainer.progress_bar_metrics:  # of the step before
            self.bar[trainer.global_step - 1] = trainer.progress_bar_metrics["train/loss"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_loss_of_whole_steps_is_logged_and_shown(accumulate: int, parts: tuple[Any, Any], tmp_path: Path) -> None:
    saved = ModelCheckpoint(tmp_path / "c", monitor="train/loss", every_n_train_steps=1, save_weights_only=True)
    added = Added(accumulate)
    given = {**PLAIN, "logger": CSVLogger(tmp_path), "log_every_n_steps": 1, "accumulate_grad_batches": accumulate}
    Trainer(**given, callbacks=[saved, added]).fit(*parts)
    steps = [added.steps[step] for step in sorted(added.steps)]
    assert list(logged(tmp_path).values()) == pytest.approx(steps)
    assert len(steps) == -(-11 // accumulate)
    assert saved.best_model_score is not None
    assert float(saved.best_model_score) == pytest.approx(min(steps))
    assert added.bar
    assert all(value in map(pytest.approx, steps) for value in added.bar.values())


def test_a_progress_bar_of_lightning_shows_it(parts: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(**PLAIN, logger=False, enable_checkpointing=False, callbacks=[TQDMProgressBar()]).fit(*parts)
    assert "train/loss=" in capsys.readouterr().out


def test_a_run_s_callbacks_may_monitor_it_and_its_log_stays(
    tiny: Callable[[str], str], parts: tuple[Any, Any], tmp_path: Path
) -> None:
    saved = ModelCheckpoint(tmp_path / "c", monitor="train/loss", every_n_train_steps=2, save_weights_only=True)
    given = {**PLAIN, "precision": "32-true", "enable_progress_bar": False, "log_every_n_steps": 2, "callbacks": [saved]}
    run = ftlit.fit(*parts, tmp_path / "run", given)
    rows = run.metrics.dropna(subset="train/loss")
    assert rows["step"].tolist() == [2, 4, 6, 8, 10]
    assert float(saved.best_model_score or 0) == pytest.approx(rows["train/loss"].min())
    assert [key for key in run.results["validation"] if "train" in key] == []


def test_inference_mode_may_stay_on(parts: tuple[Any, Any]) -> None:
    """Metrics that an evaluation has reset inside of it are updated by the training that follows."""
    model, data = parts
    trainer = Trainer(**PLAIN, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.validate(model, data, verbose=False)
    first = dict(trainer.callback_metrics)
    trainer.fit(model, data)
    trainer.validate(model, data, verbose=False)
    assert trainer.callback_metrics["val/loss"] != first["val/loss"]
    trainer.test(model, data, verbose=False)
    assert "test/accuracy" in trainer.callback_metrics
    assert not any(weight.is_inference() for weight in model.parameters())


def test_a_sampler_of_lightning_is_refused_on_several_devices(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftlit.tasks.shared.training.replaces_samplers", lambda trainer: True)
    trainer = Trainer(**PLAIN, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(UserError, match=r"trainer\.use_distributed_sampler must be False"):
        trainer.fit(*parts)


def test_an_evaluation_returns_and_logs_its_metrics(parts: tuple[Any, Any], tmp_path: Path) -> None:
    (found,) = Trainer(**PLAIN, logger=CSVLogger(tmp_path)).validate(*parts, verbose=False)
    assert found["val/loss"] > 0
    assert 0 <= found["val/accuracy"] <= 1
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/accuracy"]) == pytest.approx(found["val/accuracy"])
