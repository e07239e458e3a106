"""`ftlit.fit`: the same run as the command line's, from objects."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback, seed_everything
from lightning.pytorch.callbacks import EarlyStopping

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.runs.files import BEST, LAST
from tests.support.command_line import arguments

TRAINER = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "enable_progress_bar": False, "max_epochs": 2}
TRAINER |= {"log_every_n_steps": 1}
FILES = ("metrics.csv", "predictions/validation.jsonl", "predictions/test.jsonl")


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture
def make(tiny: Callable[[str], str], sentiment: str) -> Callable[..., tuple[Any, Any]]:
    """Makes a task and its data as a program would."""

    backbone = tiny("bert")  # made here, where it cannot change the random state

    def made(seed: int = 0, data: dict[str, Any] | None = None, **task: Any) -> tuple[Any, Any]:
        seed_everything(seed, workers=True, verbose=False)
        given = {"dataset": sentiment, "batching": ftlit.LengthGrouped(batch_size=8), **(data or {})}
        rows = ftlit.TextClassificationData(backbone=backbone, **given)
        return ftlit.TextClassification(backbone=backbone, **rows.task_arguments(), **task), rows

    return made


def evidence(run_dir: Path) -> dict[str, Any]:
    """What must be the same in runs of the same settings."""
    results = json.loads((run_dir / "results.json").read_text())
    results.pop("efficiency")
    return {"results": results, **{name: (run_dir / name).read_bytes() for name in FILES}}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_python_and_the_command_line_give_the_same_run(
    make: Callable[..., tuple[Any, Any]], tiny: Callable[[str], str], sentiment: str, tmp_path: Path
) -> None:
    options = {"test_after_fit": True, "evaluate_untrained": True, "seed": 3}
    head, optimizer = ftlit.PooledHead(pooling="mean"), partial(torch.optim.AdamW, lr=0.01, fused=True)
    model, data = make(3, tuning=ftlit.LoRA(r=2), head=head, optimizer=optimizer)
    run = ftlit.fit(model, data, tmp_path / "python", TRAINER, **options)
    assert isinstance(run, ftlit.Run)
    assert run.finished
    assert run.results.keys() == {"before", "validation", "test", "efficiency", "intervals", "baseline"}
    given = {
        "model__backbone": tiny("bert"), "model__tuning": "LoRA", "model__tuning__r": 2, "model__head": "PooledHead",
        "model__head__pooling": "mean", "model__optimizer": "AdamW", "model__optimizer__lr": 0.01, "data__dataset": sentiment,
        "seed_everything": 3, "test_after_fit": "true", "evaluate_untrained": "true", "trainer__max_epochs": 2,
    }  # fmt: skip
    main(arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path / "line", **given))
    main(["fit", "--config", str(tmp_path / "python/config.yaml"), "--run_dir", str(tmp_path / "again")])
    expected = evidence(tmp_path / "python")
    for name in ("line", "again"):
        assert evidence(tmp_path / name) == expected, name
        one, other = weights(tmp_path / "python" / BEST), weights(tmp_path / name / BEST)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_its_config_is_the_one_of_the_command_line(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    """But for what the command line adds with its defaults."""
    ftlit.fit(*make(tuning=ftlit.BitFit()), tmp_path / "python", TRAINER)
    main(["fit", "--config", str(tmp_path / "python/config.yaml"), "--run_dir", str(tmp_path / "line")])
    own, line = (yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("python", "line"))
    assert own.pop("run_dir") != line.pop("run_dir")
    for section in (own["model"], own["data"]):
        key = "model" if section is own["model"] else "data"
        assert section["class_path"] == line[key]["class_path"]
        assert section["init_args"].items() <= line[key]["init_args"].items()
    assert own["trainer"].items() <= line["trainer"].items()
    assert {key: own[key] for key in own if key not in ("model", "data", "trainer")}.items() <= line.items()


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_it_can_be_predicted_exported_and_resumed(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    run = ftlit.fit(*make(), tmp_path / "run", TRAINER, test_after_fit=True)
    table = run.predictions("test")
    assert [row["prediction"] for row in run.predict(table["text"], device="cpu")] == table["prediction"].tolist()
    ftlit.export(str(run.folder), str(tmp_path / "exported"))
    assert len(ftlit.load(tmp_path / "exported", device="cpu")(["good"])) == 1
    longer = ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "max_epochs": 3}, resume=True, patience=3)
    whole = ftlit.fit(*make(), tmp_path / "whole", {**TRAINER, "max_epochs": 3})
    assert longer.record["steps"] == whole.record["steps"] == 33


def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(
    make: Callable[..., tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {"test_after_fit": True, "save_every_n_steps": 5}
    ftlit.fit(*make(), tmp_path / "whole", TRAINER, **given)
    stop = StopsAtStep(13)
    with pytest.raises(SystemExit):
        ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "callbacks": stop}, **given)
    assert ftlit.open_run(tmp_path / "run").status == "preempted"
    ftlit.fit(*make(), tmp_path / "run", TRAINER, resume=True, **given)
    assert evidence(tmp_path / "run") == evidence(tmp_path / "whole")
    one, other = weights(tmp_path / "run" / LAST), weights(tmp_path / "whole" / LAST)
    assert all(torch.equal(one[key], other[key]) for key in one)


class StopsAtStep(Callback):
    """Interrupts training as a signal would."""

    def __init__(self, step: int) -> None:
        self.limit = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.limit:
            raise KeyboardInterrupt


def test_runs_are_neither_replaced_nor_continued_by_accident(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    first = ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "max_epochs": 1}).results
    with pytest.raises(UserError, match="holds a finished run; continue it with"):
        ftlit.fit(*make(), tmp_path / "run", TRAINER)
    with pytest.raises(UserError, match=r"model.tuning was ftlit.Full, is ftlit.BitFit"):
        ftlit.fit(*make(tuning=ftlit.BitFit()), tmp_path / "run", TRAINER, resume=True)
    again = ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "max_epochs": 1}, overwrite=True, seed=1)
    assert first["validation"] != again.results["validation"]
    assert again.record["seed"] == 1


def test_callbacks_of_the_user_replace_those_of_the_run(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    own = EarlyStopping("val/accuracy", mode="max", patience=0, min_delta=1.0)
    run = ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "max_epochs": 4, "callbacks": [own]}, patience=None)
    assert run.record["steps"] == 22  # the second validation was no better by 1


def test_what_no_config_can_describe_is_left_out_and_named(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    model, data = make(optimizer=lambda params: torch.optim.SGD(params, lr=0.1))
    run = ftlit.fit(model, data, tmp_path / "run", {**TRAINER, "max_epochs": 1, "callbacks": [HasNoArguments(1)]})
    text = (tmp_path / "run/config.yaml").read_text()
    assert text.startswith("# Without trainer.callbacks, model.optimizer: no class path and arguments describe them.\n")
    assert "optimizer" not in run.config["model"]["init_args"]
    assert len(run.predict(["good"], device="cpu")) == 1
    default = ftlit.fit(*make(), tmp_path / "default", {**TRAINER, "max_epochs": 1})
    assert not (default.folder / "config.yaml").read_text().startswith("#")


class HasNoArguments(Callback):
    """Does not keep its argument."""

    def __init__(self, given: int) -> None:
        pass


@pytest.mark.parametrize(
    ("task", "data", "said"),
    [
        ({"multi_label": True}, {}, r"data.multi_label is False, but the model needs True; create TextClassificationData with"),
        ({"tuning": ftlit.PromptTuning(4)}, {}, r"data.reserved_positions is 0, but the model needs 4"),
        ({}, {"label_names": ["good", "bad"]}, None),
    ],
)
def test_a_task_and_data_that_do_not_fit_are_refused(
    task: dict[str, Any], data: dict[str, Any], said: str | None, make: Callable[..., tuple[Any, Any]], tmp_path: Path
) -> None:
    model, rows = make(data=data, **task)
    if said is None:
        model.hparams["label_names"] = ["bad", "good"]
        said = r"model.label_names is \['bad', 'good'\], but the data have \['good', 'bad'\]; create TextClassification with"
    with pytest.raises(UserError, match=said):
        ftlit.fit(model, rows, tmp_path / "run", TRAINER)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_can_be_moved(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    run = ftlit.fit(*make(), tmp_path / "run", {**TRAINER, "max_epochs": 1})
    shutil.move(run.folder, tmp_path / "moved")
    assert len(ftlit.open_run(tmp_path / "moved").predict(["good", "bad"], device="cpu")) == 2
