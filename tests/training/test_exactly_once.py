"""Evaluation sees each example once, on however many devices: same predictions, same metrics."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main
from ftlit.runs.files import BEST
from tests.support.command_line import arguments, run_in_turn
from tests.support.questions import question_splits

ROWS = 37  # five batches of 8 or fewer, which neither two nor three devices share evenly
TEST = "predictions/test.jsonl"
ROUNDED = {"loss", "mse", "rmse", "mae", "pearson", "spearman", "r2", "auroc"}  # sums of floats, in another order
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "single": ("TextClassification", {}),
    "multi": ("TextClassification", {"model__multi_label": "true", "data__label": "labels"}),
    "regression": ("TextRegression", {"data__text_pair": "other", "data__label": "score"}),
    "windows": ("QuestionAnswering", {"data__max_length": 24, "data__stride": 6}),  # of a row on several devices
}
TEXTS = [task for task in TASKS if task != "windows"]


@pytest.fixture(scope="module")
def trained(
    finished: Callable[[], Path],
    tiny: Callable[[str], str],
    emotions: str,
    grades: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """The run folder of a task, trained and evaluated on one device."""
    questions = question_splits(tmp_path_factory.mktemp("questions"))
    folders = {"multi": emotions, "regression": grades, "windows": questions}
    made = {"single": finished()}

    def make(task: str) -> Path:
        if task not in made:
            model, options = TASKS[task]
            given = {"model__backbone": tiny("bert"), "data__dataset": folders[task], **options}
            made[task] = tmp_path_factory.mktemp(task) / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["ftlit"])
                main(arguments("fit", model, f"{model}Data", run_dir=made[task], test_after_fit="true", **given))
        return made[task]

    return make


@pytest.mark.parametrize(
    ("devices", "tasks"),
    [(2, ["single"]), *(pytest.param(devices, [*TASKS], marks=pytest.mark.slow) for devices in (2, 3))],
)
def test_devices_change_nothing(devices: int, tasks: list[str], trained: Callable[[str], Path], tmp_path: Path) -> None:
    runs = {task: trained(task) for task in tasks}
    spread = ["--trainer.devices", str(devices), "--trainer.strategy", "ddp"]
    commands = [
        ["test", "--config", f"{run_dir}/config.yaml", "--ckpt_path", f"{run_dir}/{BEST}", "--run_dir", f"{tmp_path}/{task}"]
        for task, run_dir in runs.items()
    ]
    run_in_turn([[*command, *spread] for command in commands])
    assert {task: differences(run_dir, tmp_path / task) for task, run_dir in runs.items()} == {task: [] for task in tasks}


def differences(one: Path, many: Path) -> list[str]:
    """What of the evaluation on test differs between two run folders."""
    results = [json.loads((folder / "results.json").read_text())["test"] for folder in (one, many)]
    assert results[0].keys() == results[1].keys()
    metrics = [name for name, value in results[0].items() if not _equal(name, value, results[1][name])]
    same = (one / TEST).read_bytes() == (many / TEST).read_bytes()
    return metrics if same else [TEST, *metrics]


def _equal(name: str, one: float, many: float) -> bool:
    tolerance = 1e-9 if name in ROUNDED else 0.0
    return many == pytest.approx(one, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("task", TEXTS)
def test_each_example_has_its_line(task: str, trained: Callable[[str], Path]) -> None:
    lines = [json.loads(line) for line in (trained(task) / TEST).read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"test:{i}" for i in range(ROWS)]


def test_metrics_are_those_of_the_written_predictions(trained: Callable[[str], Path]) -> None:
    for task, right in {"single": _same, "multi": _same_labels}.items():
        run_dir = trained(task)
        lines = [json.loads(line) for line in (run_dir / TEST).read_text().splitlines()]
        accuracy = json.loads((run_dir / "results.json").read_text())["test"]["accuracy"]
        assert sum(map(right, lines)) / ROWS == pytest.approx(accuracy)


def _same(line: dict[str, Any]) -> bool:
    return line["label"] == line["prediction"]


def _same_labels(line: dict[str, Any]) -> bool:
    return sorted(line["label"]) == sorted(line["prediction"])
