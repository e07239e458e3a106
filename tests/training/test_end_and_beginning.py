"""Training ends with a validation, whatever ends it; a run that begins from another's checkpoint follows its own config."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer

from ftlit.__main__ import main
from ftlit.runs.files import BEST, LAST
from ftlit.training.resume import _moved
from tests.support.command_line import arguments

RATE = {"model__optimizer": "AdamW", "model__schedule": "constant"}


@pytest.fixture(scope="module")
def fit_args(tiny: Callable[[str], str], sentiment: str) -> Callable[..., list[str]]:
    """Arguments of a small run with eleven steps an epoch."""

    def make(run_dir: Path, **options: Any) -> list[str]:
        task = ("TextClassification", "TextClassificationData")
        given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "run_dir": run_dir, **options}
        return arguments("fit", *task, **given)

    return make


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


def logged(run_dir: Path, key: str) -> dict[int, float]:
    """A value of metrics.csv by step."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[key]) for row in csv.DictReader(file) if row.get(key)}


@pytest.mark.parametrize(
    ("options", "validated"),
    [
        pytest.param({"trainer__max_steps": 5, "keep_last": "false"}, [5], id="inside-the-first-epoch"),
        pytest.param({"trainer__max_steps": 11}, [11], marks=pytest.mark.slow, id="as-an-epoch-ends"),
        pytest.param({"trainer__max_epochs": 3, "trainer__check_val_every_n_epoch": 2}, [22, 33], id="every-second-epoch"),
        pytest.param({"trainer__val_check_interval": 0.4}, [4, 8, 11], marks=pytest.mark.slow, id="inside-epochs"),
        pytest.param(
            {"trainer__max_steps": 4, "trainer__accumulate_grad_batches": 2}, [4], marks=pytest.mark.slow, id="accumulation"
        ),
        pytest.param({"trainer__limit_train_batches": 3, "trainer__max_epochs": 2}, [3, 6], marks=pytest.mark.slow, id="limit"),
    ],
)
def test_training_ends_with_a_validation(options: dict[str, Any], validated: list[int], fit_args: Any, tmp_path: Path) -> None:
    options = {"trainer__max_epochs": 2 if "trainer__max_steps" in options else 1, **options}
    rising = {**RATE, "model__optimizer__lr": 0.001, "model__monitor": "val/loss"}
    main(fit_args(tmp_path, patience="null", **rising, **options))
    losses = logged(tmp_path, "val/loss")
    assert list(losses) == validated
    best = torch.load(tmp_path / BEST, weights_only=True)
    assert best["global_step"] == min(losses, key=lambda step: losses[step])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["validation"]["loss"] == pytest.approx(min(losses.values()), rel=1e-5)
    assert (tmp_path / LAST).exists() == (options.get("keep_last") is None)


@pytest.mark.slow
def test_a_time_limit_ends_with_a_validation_and_may_be_raised(
    fit_args: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"trainer__max_time": '{"hours": 1}', "trainer__max_epochs": 4, "trainer__check_val_every_n_epoch": 2}
    with monkeypatch.context() as patch:
        seconds = iter([0.0] * 6 + [7200.0] * 99)  # over at the fifth step
        patch.setattr(Timer, "time_elapsed", lambda self, stage="train": next(seconds))
        main(fit_args(tmp_path, **limit))
    (ended,) = logged(tmp_path, "val/loss")
    assert 0 < ended < 11
    main(["fit", "--resume", "--run_dir", str(tmp_path), "--trainer.max_time", '{"hours": 99}'])
    assert list(logged(tmp_path, "val/loss")) == [ended, 22, 44]


@pytest.mark.slow
def test_more_steps_go_on_from_a_run_that_ended_inside_an_epoch(
    fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(fit_args(tmp_path, trainer__max_epochs=-1, trainer__max_steps=6))
    again = ["fit", "--resume", "--run_dir", str(tmp_path)]
    capsys.readouterr()
    main(again)
    said = capsys.readouterr().out
    assert "nothing was left to train, since trainer.max_epochs, max_steps or max_time had ended training at step 6" in said
    main([*again, "--trainer.max_steps", "14"])
    assert list(logged(tmp_path, "val/loss")) == [6, 11, 14]
    assert list(logged(tmp_path, "train/loss")) == list(range(1, 15))


@pytest.mark.slow
def test_without_validation_the_last_weights_are_kept(fit_args: Any, tmp_path: Path) -> None:
    main(fit_args(tmp_path, trainer__limit_val_batches=0, keep_last="false"))
    assert (tmp_path / LAST).exists()
    assert list(logged(tmp_path, "train/loss")) == list(range(1, 12))


# Another run's checkpoint


def test_the_config_decides_how_a_run_goes_on_from_the_checkpoint_of_another(
    fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, run_dir = tmp_path / "earlier", tmp_path / "run"
    still = {"model__optimizer": "AdamW", "model__optimizer__lr": 1e-30, "model__optimizer__weight_decay": 0.5}
    main(fit_args(earlier, **still, patience=1, trainer__max_epochs=9))
    assert json.loads((earlier / "run.json").read_text())["steps"] == 22  # it never gets better
    capsys.readouterr()
    main(["fit", "--resume", "--run_dir", str(earlier)])
    assert "since early stopping had ended training at step 22; to train on, continue in another" in capsys.readouterr().out

    own = {**RATE, "model__optimizer__lr": 0.01, "model__optimizer__weight_decay": 0.25, "model__head_lr_factor": 2}
    main(fit_args(run_dir, **own, patience=7, trainer__max_epochs=4, ckpt_path=earlier / LAST))
    assert json.loads((run_dir / "run.json").read_text())["steps"] == 44
    assert set(logged(run_dir, "train/lr").values()) <= {0.01, 0.02}
    last = torch.load(run_dir / LAST, weights_only=True)
    groups = last["optimizer_states"][0]["param_groups"]
    assert {group["lr"] for group in groups} == {0.01, 0.02}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.25}
    states = last["optimizer_states"][0]["state"]
    assert {int(state["step"]) for state in states.values()} == {44}  # the optimizer's memory is that of the earlier run
    stopping = next(state for key, state in last["callbacks"].items() if key.startswith("EarlyStopping"))
    assert stopping["patience"] == 7
    assert last["lr_schedulers"][0]["last_epoch"] == 44


def test_states_of_an_optimizer_follow_the_names_of_the_weights() -> None:
    saved = {"state": {0: "of a", 1: "of b"}, "param_groups": [{"lr": 1.0, "params": [0, 1]}]}
    checkpoint = {"optimizer_states": [saved], "optimized": ["a", "b"]}
    groups = [{"lr": 0.5, "params": [0]}, {"lr": 0.1, "params": [1, 2]}]
    assert _moved(checkpoint, groups, ["b", "c", "a"]) == {0: "of b", 2: "of a"}
    assert _moved(checkpoint, [{"lr": 0.5, "momentum": 0.9, "params": [0]}], ["b"]) == {}  # another optimizer
