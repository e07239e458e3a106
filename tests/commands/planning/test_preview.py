"""The plan of a run: what it says agrees with the run, and it leaves nothing."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftlit.__main__ import main
from ftlit.commands.cli import TaskCLI
from ftlit.commands.planning.batches import Steps
from ftlit.commands.planning.preview import Preview
from ftlit.commands.planning.recomputation import REPEATS
from ftlit.commands.planning.rehearsal import rehearse
from ftlit.data.batches.batching import MicroBatch
from ftlit.models.gradient_checkpointing import checkpoints_layers
from ftlit.tasks import TextClassification
from tests.support.command_line import arguments

Given = dict[str, Any]


@pytest.fixture
def given(tiny: Callable[[str], str], sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    monkeypatch.chdir(tmp_path)
    return {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}


def fit(given: Given, **options: Any) -> list[str]:
    return arguments("fit", "TextClassification", "TextClassificationData", **given, **options)


def foreseen(given: Given, **options: Any) -> tuple[Preview, TaskCLI]:
    """What a run will take, and the command line that foresaw it."""
    found = []

    class Foreseen(TaskCLI):
        def plan(self, splits: list[str]) -> None:
            found.append(rehearse(self.trainer, self.model, self.datamodule, self.options.evaluate_untrained, self.began, 1))

    cli = Foreseen([*fit(given, **options), "--plan"])
    return found[0], cli


def test_the_flag_says_all_and_leaves_nothing(given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = {"trainer__logger": "CSVLogger", "trainer__logger__save_dir": tmp_path / "logs"}
    main([*fit(given, test_after_fit="true", trainer__callbacks="LearningRateMonitor", **logger), "--plan"])
    said = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert "83 train, 31 validation, 37 test" in said
    assert "11 an epoch, 11 in all unless early stopping ends them" in said
    for word in ("median", "longest", "1 validations of", "the best checkpoint on validation in", "test in", "hours",
                 "MiB resident at most; the device has", "best.ckpt", "last.ckpt"):  # fmt: skip
        assert word in said, word


def test_a_run_in_the_folder_stays_as_it_is(given: Given) -> None:
    main(fit(given))
    before = {path: path.read_bytes() for path in given["run_dir"].rglob("*") if path.is_file()}
    main([*fit(given, model__tuning="LoRA"), "--plan"])
    assert {path: path.read_bytes() for path in given["run_dir"].rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_longest_and_the_median_batch_are_those_of_the_epoch(
    given: Given, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], TextClassification.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        seen.append(batch["input_ids"].numel())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TextClassification, "training_step", training_step)
    found, cli = foreseen(given, trainer__accumulate_grad_batches=accumulate)
    real = [batch["input_ids"].numel() for batch in cli.datamodule.train_dataloader()]
    steps = [sum(real[i : i + accumulate]) for i in range(0, len(real), accumulate)]
    assert max(seen[:accumulate]) == max(real)
    assert found.tokens["longest"] == sum(seen[:accumulate])
    assert found.tokens["median"] == sum(seen[accumulate : 2 * accumulate]) == sorted(steps)[(len(steps) - 1) // 2]
    with_and_without = 2 * REPEATS
    assert len(seen) == 3 * accumulate + with_and_without  # to warm up, and one of each
    assert set(seen[-with_and_without:]) == {max(real)}


def test_seconds_that_grow_with_tokens_are_found_again() -> None:
    lengths = np.array([3, 9, 4, 20, 7, 5])
    steps = Steps([[MicroBatch([i], 1.0)] for i in range(6)], lengths)

    def time(tokens: float) -> float:
        return 0.5 + 0.1 * tokens

    known = {kind: time(steps.tokens[i]) for kind, i in steps.chosen.items()}
    assert steps.tokens[steps.chosen["longest"]] == 20
    assert steps.tokens[steps.chosen["median"]] == 5
    assert steps.seconds(known, 6) == pytest.approx(sum(time(n) for n in lengths))
    assert steps.seconds(known, 15) == pytest.approx(sum(time(n) for n in [*lengths, *lengths, 3, 9, 4]))


@pytest.mark.parametrize(
    "options",
    [
        {"trainer__max_steps": 16, "trainer__max_epochs": 5, "trainer__val_check_interval": 3},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {"trainer__max_epochs": 2, "trainer__accumulate_grad_batches": 2},
                {"trainer__max_epochs": 2, "trainer__val_check_interval": 0.25},
                {"trainer__max_epochs": 3, "trainer__check_val_every_n_epoch": 2},
                {"trainer__max_epochs": 2, "trainer__limit_train_batches": 7, "data__batching__batch_size": 4},
            )
        ),
    ],
)
def test_steps_and_validations_are_those_of_the_run(given: Given, options: Given) -> None:
    found, _ = foreseen(given, **options)
    main(fit(given, patience="null", **options))
    with (given["run_dir"] / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    assert found.steps == json.loads((given["run_dir"] / "run.json").read_text())["steps"]
    assert found.validations == len(rows)


@pytest.mark.parametrize("tuning", [pytest.param("Full", marks=pytest.mark.slow), "LoRA"])
def test_sizes_are_those_of_the_run(given: Given, tuning: str) -> None:
    found, _ = foreseen(given, model__tuning=tuning)
    main(fit(given, model__tuning=tuning, test_after_fit="true"))
    run = given["run_dir"]
    assert found.best_bytes == pytest.approx((run / "checkpoints/best.ckpt").stat().st_size, rel=0.1)
    assert found.last_bytes == pytest.approx((run / "checkpoints/last.ckpt").stat().st_size, rel=0.1)
    for split, size in found.prediction_bytes.items():
        assert size == pytest.approx((run / f"predictions/{split}.jsonl").stat().st_size, rel=0.2)


def test_a_training_of_two_steps_is_foreseen(given: Given) -> None:
    found, _ = foreseen(given, data__limit_train=8, trainer__max_epochs=2)
    assert (found.steps, found.steps_per_epoch, found.validations) == (2, 1, 2)
    assert found.train_seconds > 0


def test_batches_that_do_not_fit_are_named(
    given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TextClassification, "training_step", training_step)
    main([*fit(given), "--plan"])
    said = capsys.readouterr().out
    assert re.search(
        r"Plan: this will not fit: memory ran out on a training batch of 8 examples, \d+ tokens with padding;", said
    )
    assert "; set model.gradient_checkpointing: true, make batches smaller" in said
    assert "lower data.max_length" in said


def test_a_run_larger_than_the_machine_is_said_not_to_fit() -> None:
    found = Preview(tokens={"median": 1, "longest": 1}, step_seconds={"median": 1.0, "longest": 1.0}, memory_bytes=2**30)
    assert "will not fit" not in found.text(["validation"])
    large = Preview(**{**vars(found), "peak_memory_bytes": 2**31})
    assert "2,048 MiB resident at most; the device has 1,024 MiB: this will not fit" in large.text(["validation"])


@pytest.mark.parametrize("given_so", [False, True])
def test_memory_and_time_are_told_with_and_without_gradient_checkpointing(given: Given, given_so: bool) -> None:
    found, cli = foreseen(given, model__gradient_checkpointing=str(given_so).lower())
    kept, again = found.recomputation["without"], found.recomputation["with"]
    assert kept is not None
    assert again is not None
    assert again["bytes"] < 0.5 * kept["bytes"]
    assert min(again["seconds"], kept["seconds"]) > 0
    assert checkpoints_layers(cli.model.backbone) == given_so
    said = found.text(["validation"])
    assert re.search(r"s without gradient checkpointing( \(as set\))?, [\d,]+ KiB in \S+ s with gradient checkpointing", said)
    assert ("with gradient checkpointing (as set)" in said) == given_so


def test_memory_that_runs_out_without_gradient_checkpointing_is_said() -> None:
    measured = {"without": None, "with": {"bytes": 2.0**20, "seconds": 0.5}}
    found = Preview(tokens={"median": 1, "longest": 1}, step_seconds={"median": 1.0, "longest": 1.0}, recomputation=measured)
    said = "more memory than the device has without gradient checkpointing (as set), 1 MiB in 0.500 s with"
    assert said in found.text(["validation"])
