"""A run that cannot start leaves nothing; one that has begun leaves its folder and its error."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ftlit.__main__ import main
from ftlit.errors import UserError, in_a_sentence, settings, user_error
from ftlit.training.trainer import trainer_arguments
from tests.support import broken
from tests.support.command_line import arguments, refusal

Fit = Callable[..., list[str]]


@pytest.fixture
def fit(tiny: Callable[[str], str], sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Arguments of a run whose loss raises an error after some batches."""
    monkeypatch.setattr(sys, "argv", ["ftlit"])

    def make(batches: int = 0, error: Exception | None = None, **options: Any) -> list[str]:
        monkeypatch.setattr(broken.BrokenAfter, "batches", batches)
        monkeypatch.setattr(broken.BrokenAfter, "error", error or ValueError("a library does not like a setting"))
        given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}
        given |= {"model__loss": "tests.support.broken.BrokenAfter"}
        return arguments("fit", "TextClassification", "TextClassificationData", **given, **options)

    return make


@pytest.mark.parametrize("logger", [None, "TensorBoardLogger"])
def test_an_error_before_training_is_a_sentence(
    logger: str | None, fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(fit(trainer__val_check_interval=1000, trainer__logger=logger), capsys)
    assert said.startswith("error: the run cannot start: `val_check_interval` (1000) must be less than or equal to the number")
    assert len(said.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_first_batch_leaves_nothing(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(fit(), capsys)
    assert said.splitlines()[0] == "error: the run cannot start: a library does not like a setting"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_training_keeps_its_traceback_and_is_recorded(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a library does not like a setting"):
        main(fit(batches=2))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "ValueError: a library does not like a setting")


def test_a_misconfiguration_is_a_sentence_at_any_time(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(fit(batches=2, error=MisconfigurationException("two settings\n do not fit")), capsys)
    assert said.splitlines() == ["error: two settings do not fit"]
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "failed"


def test_a_run_that_cannot_start_does_not_replace_another(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="a library"):
        main(fit(batches=2))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    refusal([*fit(), "--overwrite"], capsys)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_began_in_the_same_folder_meanwhile_is_kept(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(*_: Any, **__: Any) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/run.json").write_text('{"status": "running", "versions": {}}')

    monkeypatch.setattr("ftlit.commands.evaluate.Evaluation.print_summary", other)
    assert "holds an unfinished run" in refusal(fit(batches=100), capsys)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_folder_that_is_a_file(place: str, fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    said = refusal([*fit(), f"--run_dir={tmp_path / place}"], capsys)
    assert f"--run_dir {tmp_path / place}: {tmp_path / 'file'} is a file; expected a folder" in said


def test_the_traceback_is_shown_on_request(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTLIT_TRACEBACK", "1")
    with pytest.raises(UserError, match="the run cannot start") as raised:
        main(fit())
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("bad\n  value"), "trainer: bad value"),
        (KeyError("x"), "trainer: KeyError: 'x'"),
        (
            AttributeError("'NoneType' object has no attribute 'y'"),
            "trainer: AttributeError: 'NoneType' object has no attribute 'y'",
        ),
        (RuntimeError(""), "trainer: RuntimeError: "),
        (UserError("said already"), "said already"),
        (MisconfigurationException("odd"), "trainer: odd"),
    ],
)
def test_what_libraries_raise_becomes_a_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(UserError) as raised, settings("trainer"):
        raise error
    assert str(raised.value) == sentence


def test_long_errors_are_cut_and_causes_are_found() -> None:
    assert len(in_a_sentence(ValueError("word " * 500))) <= 402
    inner = UserError("the cause")
    outer = ValueError("wrapped")
    outer.__cause__ = inner
    assert user_error(outer) is inner
    assert user_error(ValueError("a bug")) is None


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        ("val/acuracy", "EarlyStopping monitors 'val/acuracy', which no validation logs. Did you mean 'val/accuracy'?"),
        ("loss", "EarlyStopping monitors 'loss', which no validation logs. Did you mean 'val/loss'?"),
        pytest.param("mine", "Early stopping conditioned on metric `mine` which is not available", marks=pytest.mark.slow),
    ],
)
def test_a_callback_that_monitors_what_is_not_logged(
    monitor: str, said: str, fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that only a validation can log are refused before training."""
    callback = {"trainer__callbacks": "EarlyStopping", "trainer__callbacks__monitor": monitor}
    assert said in refusal(fit(batches=1000, trainer__max_epochs=1, **callback), capsys)
    assert (tmp_path / "run").exists() == (monitor == "mine")


def test_training_without_an_end_is_refused(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(fit(trainer__max_epochs="null"), capsys)
    assert said.startswith("error: trainer.max_epochs is null and nothing else limits the training; set it")
    assert trainer_arguments({"max_epochs": None, "max_steps": 5})["max_epochs"] is None
