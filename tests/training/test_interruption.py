"""A run that is asked to stop ends after the batch, says so, and goes on as if it had never stopped."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main
from ftlit.runs.files import LAST
from ftlit.tasks.shared.evaluator import Evaluator
from ftlit.training.cost import Cost
from ftlit.training.resume import LastCheckpoint
from tests.support.command_line import arguments, ftlit, start
from tests.support.resuming import differences, final_state

EPOCHS, STEPS = 2, 22  # of 11 batches each; a validation has four, and the check before training has two


@pytest.fixture(scope="module")
def fit_args(tiny: Callable[[str], str], sentiment: str) -> Callable[..., list[str]]:
    """Arguments of a small run with dropout that ends with an evaluation on test."""

    def make(run_dir: Path, **options: Any) -> list[str]:
        given = {"run_dir": run_dir, "test_after_fit": "true", "trainer__max_epochs": EPOCHS, "patience": "null", **options}
        task = ("TextClassification", "TextClassificationData")
        return arguments("fit", *task, model__backbone=tiny("bert"), data__dataset=sentiment, **given)

    return make


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def whole(fit_args: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run is where nothing stops it."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(fit_args(run_dir))
    return final_state(run_dir)


def signal_at(patch: pytest.MonkeyPatch, owner: type, hook: str, count: int, *numbers: int) -> None:
    """Send signals to this process when a method is called for the given time."""
    method, calls = getattr(owner, hook), []

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(hook)
        if len(calls) == count:
            for number in numbers:
                os.kill(os.getpid(), number)
        return method(self, *args, **kwargs)

    patch.setattr(owner, hook, called)


def stopped(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code of a command that stops, and what it says on the standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(args)
    return left.value.code, capsys.readouterr().err  # type: ignore[return-value]


BATCH, EVALUATION = (Cost, "on_train_batch_start"), (Evaluator, "update")
CASES = {
    "first-batch": (BATCH, 1, (signal.SIGTERM,), 1),
    "second-epoch-twice": (BATCH, 15, (signal.SIGINT, signal.SIGINT), 15),
    "last-batch-of-an-epoch": (BATCH, 11, (signal.SIGTERM,), 11),
    "last-batch": (BATCH, 22, (signal.SIGTERM,), 22),
    "check-before-training": (EVALUATION, 1, (signal.SIGTERM,), 1),
    "first-validation": (EVALUATION, 4, (signal.SIGTERM,), 11),
    "last-validation": (EVALUATION, 9, (signal.SIGINT, signal.SIGTERM), 22),
    "evaluation-of-the-best": (EVALUATION, 12, (signal.SIGTERM,), 22),
    "test": (EVALUATION, 16, (signal.SIGINT,), 22),
}
BY_DEFAULT = ("second-epoch-twice", "first-validation")


@pytest.mark.parametrize("case", [pytest.param(name, marks=[] if name in BY_DEFAULT else pytest.mark.slow) for name in CASES])
def test_a_stopped_run_goes_on_exactly(
    case: str, fit_args: Any, whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (owner, hook), count, numbers, step = CASES[case]
    run_dir, handler = tmp_path / "run", signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, owner, hook, count, *numbers)
        code, said = stopped(fit_args(run_dir), capsys)
    assert code == 128 + numbers[0]
    assert said == f"stopped at step {step}, --resume goes on\n"
    record = json.loads((run_dir / "run.json").read_text())
    assert (record["status"], record["error"]) == ("preempted", f"stopped at step {step}")
    assert (run_dir / LAST).is_file()
    assert signal.getsignal(signal.SIGTERM) == handler
    main(["fit", "--resume", "--run_dir", str(run_dir)])
    assert differences(whole, final_state(run_dir)) == []


def test_a_run_that_stops_in_a_validation_and_again_after_one_goes_on_exactly(
    fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the same one, no batch has been read; at the next one, Lightning still counts batches of the first."""
    options = {"trainer__max_epochs": 1, "trainer__val_check_interval": 3}
    main(fit_args(tmp_path / "whole", **options))
    for end in (1, 2):
        run_dir = tmp_path / f"run-{end}"
        args = fit_args(run_dir, **options)
        for owner, hook, count in ((*EVALUATION, 4), (LastCheckpoint, "on_validation_end", end)):
            with pytest.MonkeyPatch.context() as patch:
                signal_at(patch, owner, hook, count, signal.SIGTERM)
                assert stopped(args, capsys)[0] == 143
            args = ["fit", "--resume", "--run_dir", str(run_dir)]
        main(args)
        assert differences(final_state(tmp_path / "whole"), final_state(run_dir)) == [], run_dir.name


@pytest.mark.slow
def test_before_training_there_is_nothing_to_save(
    fit_args: Any, whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, *EVALUATION, 2, signal.SIGTERM)
        found = stopped(fit_args(run_dir, evaluate_untrained="true"), capsys)
    assert found == (143, "stopped at step 0, nothing was written\n")
    assert not run_dir.exists()
    main(fit_args(run_dir, evaluate_untrained="true"))
    assert "before" in json.loads((run_dir / "results.json").read_text())
    assert differences(whole, final_state(run_dir)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"trainer__accumulate_grad_batches": 4, "trainer__val_check_interval": 0.5},
        {"trainer__max_steps": 18},
        {"trainer__max_epochs": 3, "trainer__check_val_every_n_epoch": 2},
        {"data__num_workers": 1},
    ],
    ids=["accumulation", "steps", "epoch-without-validation", "workers"],
)
def test_other_trainings_stop_and_go_on(
    options: dict[str, Any], fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(fit_args(tmp_path / "whole", **options))
    expected = final_state(tmp_path / "whole")
    for owner, hook, count in ((*BATCH, 6), (*EVALUATION, 4), (*BATCH, 18), (*EVALUATION, 8)):
        run_dir = tmp_path / f"{hook}-{count}"
        with pytest.MonkeyPatch.context() as patch:
            signal_at(patch, owner, hook, count, signal.SIGTERM)
            assert stopped(fit_args(run_dir, **options), capsys)[0] == 143
        main(["fit", "--resume", "--run_dir", str(run_dir)])
        assert differences(expected, final_state(run_dir)) == [], run_dir.name
        shutil.rmtree(run_dir)


@pytest.mark.slow
def test_an_evaluation_stops_and_writes_nothing(fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    main(fit_args(run_dir, trainer__max_epochs=1, test_after_fit="false"))
    before = (run_dir / "results.json").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, *EVALUATION, 2, signal.SIGTERM)
        code, said = stopped(["test", "--config", str(run_dir / "config.yaml")], capsys)
    assert (code, said) == (143, "stopped at step 0, nothing was written\n")
    assert (run_dir / "results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run(number: int, fit_args: Any, tmp_path: Path) -> None:
    options = {
        "data__num_workers": 2,
        "trainer__max_epochs": 60,
        "save_every_n_steps": 3,
        "trainer__accumulate_grad_batches": 4,
    }
    run_dir = tmp_path / "run"
    process = start(fit_args(run_dir, **options))
    while not (run_dir / LAST).exists():
        assert process.poll() is None
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, output
    assert output.count("--resume goes on") == 1
    assert "Traceback" not in output


@pytest.mark.slow
def test_two_processes_stop_together(fit_args: Any, tmp_path: Path) -> None:
    options = {"trainer__devices": 2, "trainer__strategy": "ddp", "save_every_n_steps": 2, "trainer__max_epochs": 30}
    run_dir = tmp_path / "run"
    process = start(fit_args(run_dir, **options))
    while not (run_dir / LAST).exists():
        assert process.poll() is None
    process.terminate()  # the first rank alone
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    step = int(output.split("stopped at step ")[1].split(",")[0])
    assert json.loads((run_dir / "run.json").read_text())["status"] == "preempted"
    ftlit(["fit", "--resume", "--run_dir", str(run_dir)])
    ftlit(fit_args(tmp_path / "whole", **options))
    assert 0 < step < 180
    assert differences(final_state(tmp_path / "whole"), final_state(run_dir)) == []
