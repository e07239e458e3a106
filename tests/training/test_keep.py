"""Runs that hold weights near their start: what matters to an earlier run, what is logged, and an exact resume."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from ftlit.__main__ import main
from ftlit.data import TextClassificationData
from ftlit.runs.files import BEST, LAST
from ftlit.tasks import TextClassification
from ftlit.training.keep.fisher import fisher, importance
from ftlit.training.stored.canonical import Passes
from ftlit.tuning import LoRA
from tests.support.command_line import arguments, refusal
from tests.support.resuming import differences, final_state, keep_snapshots
from tests.support.runs import fitted
from tests.support.small import QUIET, classifier, ragged_batch

Tiny = Callable[[str], str]
Finished = Callable[[str], Path]
EWC = {"model__keep": "EWC", "model__keep__rows": 6, "model__keep__strength": 50}
L2SP = {"model__keep": "L2SP", "model__keep__alpha": 0.5}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture
def options(finished: Finished, tiny: Tiny, sentiment: str) -> dict[str, Any]:
    """A run of two epochs that begins with a finished one."""
    first = {"model__backbone": tiny("bert"), "model__init_from": finished("Full")}
    return {**first, "data__dataset": sentiment, "trainer__max_epochs": 2, "data__limit_train": 40}


@pytest.mark.parametrize("tuning", [None, LoRA(r=2)], ids=str)
def test_fisher_is_the_mean_of_squared_gradients_of_single_examples(tuning: Any, tiny: Tiny) -> None:
    task = classifier(tiny("bert"), **({"tuning": tuning} if tuning else {})).train()
    weights = {name: weight for name, weight in task.model.named_parameters() if weight.requires_grad}
    batch = ragged_batch()
    single = [{name: v[[i]] for name, v in batch.items() if name != "loss_denominator"} for i in range(4)]
    state = torch.get_rng_state()
    found = fisher(task, iter(single), weights)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in task.modules() if part is not task.model and not task.stages.trunk.rests(part))
    task.eval()
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for i in range(4):
        task.zero_grad()
        length = int(batch["attention_mask"][i].sum())
        logits = task.model(batch["input_ids"][i : i + 1, :length], torch.ones(1, length, dtype=torch.long)).logits
        torch.nn.functional.cross_entropy(logits, batch["labels"][i : i + 1]).backward()
        for name, weight in weights.items():
            squares[name] += 0 if weight.grad is None else weight.grad**2 / 4
    for name, expected in squares.items():
        torch.testing.assert_close(found[name], expected, atol=1e-7, rtol=1e-3)
    assert all(weight.grad is None or weight.requires_grad for weight in weights.values())


def test_importance_is_that_of_the_rows_of_the_earlier_run(finished: Finished, tiny: Tiny, sentiment: str) -> None:
    data = TextClassificationData(dataset=sentiment, backbone=tiny("bert"), limit_train=20)
    task = TextClassification(backbone=tiny("bert"), init_from=str(finished("Full")), **data.task_arguments()).eval()
    trainer = Trainer(accelerator="cpu", **QUIET)
    weights = dict(task.model.named_parameters())
    found = importance(Passes(task, data, trainer), weights, None, 10**6)
    whole = TextClassificationData(dataset=sentiment, backbone=tiny("bert"))  # the earlier run had all rows
    whole.setup("fit")
    columns = [whole.encoded["train"][[i]] for i in range(len(whole.encoded["train"]))]
    expected = fisher(task, (whole.collate(column) for column in columns), weights)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("keep", [EWC, pytest.param(L2SP, marks=pytest.mark.slow)], ids=["EWC", "L2SP"])
def test_resume_is_exact(
    keep: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        fitted(run_dir, "TextClassification", **options, **keep, save_every_n_steps=3, test_after_fit="true")
    run_dir.rename(whole)
    expected = final_state(whole)
    snapshots = sorted((tmp_path / "at").iterdir())
    shutil.copytree(snapshots[1], run_dir)
    assert torch.load(run_dir / LAST, weights_only=True)["anchors"]
    assert "anchors" not in torch.load(whole / BEST, weights_only=True)
    main(["fit", "--resume", "--run_dir", str(run_dir)])
    assert differences(expected, final_state(run_dir)) == []


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / LAST, weights_only=True)["state_dict"]


def test_weights_stay_near_and_parts_are_logged(options: dict[str, Any], finished: Finished, tmp_path: Path) -> None:
    start = torch.load(finished("Full") / BEST, weights_only=True)["state_dict"]
    moved = {}
    for name, keep in {"free": {}, "none": {**L2SP, "model__keep__alpha": 0, "model__keep__beta": 0}, "held": L2SP}.items():
        fitted(tmp_path / name, "TextClassification", **{**options, "trainer__max_epochs": 1}, **keep)
        moved[name] = sum(float((weight - start[key]).square().sum()) for key, weight in weights_of(tmp_path / name).items())
    free, none = (weights_of(tmp_path / name) for name in ("free", "none"))
    assert all(torch.equal(weight, none[key]) for key, weight in free.items())  # nothing is held: the same bits
    assert moved["held"] < 0.9 * moved["free"]
    rows = list(csv.DictReader((tmp_path / "held/metrics.csv").open()))
    steps = [row for row in rows if row["train/loss"]]
    assert float(steps[0]["train/keep_loss"]) == pytest.approx(0, abs=1e-6)  # the head has its earlier value, too
    assert float(steps[-1]["train/keep_loss"]) > 0
    for row in steps:
        assert float(row["train/loss"]) == pytest.approx(
            float(row["train/task_loss"]) + float(row["train/keep_loss"]), rel=1e-4
        )
    assert "train/keep_loss" not in (tmp_path / "free/metrics.csv").read_text()


def test_the_plan_counts_what_is_held(options: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(
        [*arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path / "x", **options, **EWC), "--plan"]
    )
    assert "training" in capsys.readouterr().out.lower()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model__init_from": None},
            "model.keep EWC needs an earlier run: set model.init_from to its folder, or model.keep.run",
        ),
        ({"model__keep__run": "nowhere"}, "model.keep.run 'nowhere' holds no finished run; expected the folder of one"),
        ({"model__head": "PooledHead"}, "but the head begins anew; set model.init_from to this run"),
    ],
    ids=["no-run", "nowhere", "head"],
)
def test_what_cannot_be_measured(
    changes: dict[str, Any], said: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = {**options, **EWC, **changes, "run_dir": tmp_path / "run"}
    assert said in refusal(arguments("fit", "TextClassification", "TextClassificationData", **given), capsys)
    record = tmp_path / "run/run.json"
    assert not record.exists() or json.loads(record.read_text())["status"] == "failed"
