"""A run that is killed at any moment and goes on ends with the same bits as one that was never stopped."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ftlit.__main__ import main
from ftlit.runs.files import BEST, LAST
from ftlit.runs.folder import check_free
from ftlit.training.resume import LastCheckpoint
from tests.support.command_line import arguments, ftlit, kill_when, refusal, run_in_turn
from tests.support.resuming import KEPT, differences, final_state, keep_snapshots
from tests.support.speeds import some_by_default

CLASSIFICATION = ("TextClassification", "TextClassificationData")


@pytest.fixture(scope="module")
def fit_args(tiny: Callable[[str], str], sentiment: str) -> Callable[..., list[str]]:
    """Arguments of a small run with dropout that ends with an evaluation on test."""

    def make(run_dir: Path, **options: Any) -> list[str]:
        given = {"run_dir": run_dir, "test_after_fit": "true", "trainer__max_epochs": 1, "patience": "null", **options}
        return arguments("fit", *CLASSIFICATION, model__backbone=tiny("bert"), data__dataset=sentiment, **given)

    return make


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"save_every_n_steps": 5, "trainer__max_epochs": 2}, marks=pytest.mark.slow, id="inside-epochs"),
        pytest.param(
            {"save_every_n_steps": 2, "trainer__val_check_interval": 0.5, "trainer__accumulate_grad_batches": 4},
            id="validation-inside-accumulation",
        ),
        pytest.param(
            {"save_every_n_steps": 11, "trainer__max_epochs": 2, "trainer__check_val_every_n_epoch": 2},
            marks=pytest.mark.slow,
            id="epoch-without-validation",
        ),
        pytest.param({"save_every_n_steps": 6, "trainer__max_steps": 18}, marks=pytest.mark.slow, id="steps"),
    ],
)
def test_resume_from_every_checkpoint(
    options: dict[str, Any], fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit_args(run_dir, **options))
    run_dir.rename(whole)
    expected, found = final_state(whole), {}
    for snapshot in sorted((tmp_path / "at").iterdir()):
        shutil.copytree(snapshot, run_dir)
        main(["fit", "--resume", "--run_dir", str(run_dir)])
        found[snapshot.name] = differences(expected, final_state(run_dir))
        shutil.rmtree(run_dir)
    assert len(found) > 1
    assert not {name: keys for name, keys in found.items() if keys}


@pytest.mark.slow
def test_the_best_of_a_run_is_known_where_its_folder_has_moved(
    fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    still = {"model__optimizer": "AdamW", "model__optimizer__lr": 1e-30}
    options = {"trainer__max_epochs": 3, "trainer__callbacks": "tests.support.callbacks.Negated", **still}
    run_dir, moved = tmp_path / "run", tmp_path / "moved"
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit_args(run_dir, **options))
    expected = final_state(run_dir)
    assert expected[f"{BEST}/step"] == 11  # the second epoch has turned the head into its opposite
    shutil.rmtree(run_dir)
    for snapshot in sorted((tmp_path / "at").iterdir())[:2]:
        shutil.copytree(snapshot, moved)
        main(["fit", "--resume", "--run_dir", str(moved)])
        assert differences(expected, final_state(moved)) == [], snapshot.name
        shutil.rmtree(moved)


def test_no_checkpoint_of_a_run_of_seconds_that_keeps_none(
    fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"trainer__val_check_interval": 4, "trainer__max_epochs": 1}
    saved = list[int]()
    monkeypatch.setattr(LastCheckpoint, "save", lambda self, trainer, *_: saved.append(trainer.global_step))
    main(fit_args(tmp_path / "short", **options, keep_last="false"))
    assert saved == []
    main(fit_args(tmp_path / "asked", **options, keep_last="false", save_every_n_steps=4))
    assert saved == [4, 8]


@pytest.mark.slow
def test_a_run_without_a_last_checkpoint(
    fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, whole, options = tmp_path / "run", tmp_path / "whole", {"trainer__max_epochs": 2}
    main(fit_args(whole, **options))
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit_args(run_dir, **options, keep_last="false", save_every_n_steps=11))
    (snapshot,) = (tmp_path / "at").iterdir()  # of the first epoch: the end was less than a minute away
    assert not (run_dir / LAST).exists()
    assert all((run_dir / name).read_bytes() == (whole / name).read_bytes() for name in KEPT)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--resume", "--run_dir", str(run_dir)])
    assert "kept no checkpoints/last.ckpt to continue from" in capsys.readouterr().err
    shutil.rmtree(run_dir)
    shutil.copytree(snapshot, run_dir)
    main(["fit", "--resume", "--run_dir", str(run_dir)])
    assert not (run_dir / LAST).exists()
    assert all((run_dir / name).read_bytes() == (whole / name).read_bytes() for name in KEPT)


@pytest.mark.slow
def test_killed_run_goes_on_with_nothing_but_its_folder(fit_args: Any, tmp_path: Path) -> None:
    options = {"trainer__accumulate_grad_batches": 2, "data__num_workers": 2, "trainer__val_check_interval": 0.5}
    options |= {"save_every_n_steps": 4, "trainer__max_epochs": 3}
    kill_when(fit_args(tmp_path / "killed", **options), tmp_path / "killed" / LAST)  # half of the first epoch done
    assert json.loads((tmp_path / "killed/run.json").read_text())["status"] == "running"
    ftlit(["fit", "--resume", "--run_dir", str(tmp_path / "killed")])
    main(fit_args(tmp_path / "whole", **options))
    assert differences(final_state(tmp_path / "whole"), final_state(tmp_path / "killed")) == []


@pytest.mark.slow
def test_killed_run_of_two_processes(fit_args: Any, tmp_path: Path) -> None:
    options = {"trainer__devices": 2, "trainer__strategy": "ddp", "save_every_n_steps": 3, "trainer__max_epochs": 3}
    kill_when(fit_args(tmp_path / "killed", **options), tmp_path / "killed" / LAST)  # inside the first epoch of 6 steps
    assert torch.load(tmp_path / "killed" / LAST, weights_only=True)["global_step"] < 18
    run_in_turn([["fit", "--resume", "--run_dir", str(tmp_path / "killed")], fit_args(tmp_path / "whole", **options)])
    assert differences(final_state(tmp_path / "whole"), final_state(tmp_path / "killed")) == []


@pytest.mark.slow
def test_nothing_is_trained_after_early_stopping_decided(
    fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    options = {
        "patience": 1,
        "trainer__max_epochs": 9,
        "model__optimizer": "AdamW",
        "model__optimizer__lr": 1e-30,
    }  # the metric never gains
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit_args(run_dir, **options))
    run_dir.rename(whole)
    shutil.copytree(max((tmp_path / "at").iterdir()), run_dir)
    assert torch.load(run_dir / LAST, weights_only=True)["stopped"]
    main(["fit", "--resume", "--run_dir", str(run_dir)])
    record = json.loads((run_dir / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("completed", 22)
    assert differences(final_state(whole), final_state(run_dir)) == []


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_is_neither_continued_nor_replaced_by_accident(
    fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    args = fit_args(run_dir, trainer__max_epochs=1)
    main(args)
    for status in ("completed", "running"):
        record = run_dir / "run.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "status": status}))
        before = contents(run_dir)
        said = refusal(args, capsys)
        assert ("a finished run" if status == "completed" else "an unfinished run") in said
        assert "--resume" in said
        assert "--overwrite" in said
        assert contents(run_dir) == before
    (run_dir / "notes.txt").write_text("mine")
    for left in ("checkpoints/other.ckpt", "hpc_ckpt_1.ckpt"):
        (run_dir / left).write_text("of the run before")
    main([*args, "--overwrite"])
    assert (run_dir / "notes.txt").exists()
    assert not (run_dir / "checkpoints/other.ckpt").exists()
    assert not (run_dir / "hpc_ckpt_1.ckpt").exists()
    assert json.loads((run_dir / "run.json").read_text())["status"] == "completed"
    assert "set only one of them" in refusal([*args, "--overwrite", "--resume"], capsys)


def test_resume_needs_a_run(fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for args in (["fit", "--resume", "--run_dir", str(tmp_path / "empty")], [*fit_args(tmp_path / "empty"), "--resume"]):
        assert "holds no run; leave --resume out" in refusal(args, capsys)
    assert contents(tmp_path / "empty") == {}


@pytest.fixture(scope="module")
def finished(fit_args: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with LoRA that has ended."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(fit_args(run_dir, model__tuning="LoRA", model__optimizer="AdamW", model__optimizer__lr=0.01))
    return run_dir


@pytest.mark.parametrize(
    ("changes", "said"),
    some_by_default(
        [
            (["--model.tuning", "BitFit"], "model.tuning was ftlit.LoRA, is ftlit.BitFit; undo the change"),
            (["--model.head", "PooledHead"], "model.head was None, is ftlit.PooledHead; undo"),
            (["--model.optimizer.lr", "0.1"], "model.optimizer.lr was 0.01, is 0.1"),
            (["--model.head_lr_factor", "5"], "model.head_lr_factor was 1.0, is 5"),
            (["--model.loss", "Focal"], "model.loss was None, is ftlit.Focal; undo"),
            (["--model.lr_factors", '{"classifier": 5}'], "model.lr_factors.classifier was None, is 5"),
            (["--patience", "3"], "patience was None, is 3"),
            (["--trainer.precision", "bf16-mixed"], "trainer.precision was 32-true, is bf16-mixed"),
            (["--trainer.gradient_clip_val", "null"], "trainer.gradient_clip_val was 1.0, is None"),
            (["--data.limit_validation", "9"], "the validation data have changed"),
        ],
        chosen=(0, 2, 9),
    ),
)
def test_resuming_with_another_model_is_refused(
    changes: list[str], said: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the checkpoint holds would win, and config.yaml would say otherwise."""
    before = contents(finished)
    assert said in refusal(["fit", "--resume", "--run_dir", str(finished), *changes], capsys)
    assert contents(finished) == before


@pytest.mark.slow
def test_a_run_goes_on_from_an_experiment_whose_backbone_has_moved(
    fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its file leaves out is as it was; but the weights must be the same."""
    run_dir, moved, experiment = tmp_path / "run", tmp_path / "moved", tmp_path / "experiment.yaml"
    main(fit_args(run_dir, model__tuning="LoRA"))
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    del config["model"]["init_args"]["optimizer"], config["trainer"]["max_epochs"]
    shutil.copytree(config["model"]["init_args"]["backbone"], moved)
    config["model"]["init_args"]["backbone"] = str(moved)
    experiment.write_text(yaml.safe_dump(config))
    again = ["fit", "--config", str(experiment), "--resume", "--trainer.max_epochs"]
    main([*again, "2"])
    assert json.loads((run_dir / "run.json").read_text())["steps"] == 22
    weights = load_file(moved / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    before = contents(run_dir)
    assert "frozen weights of model.backbone" in refusal([*again, "3"], capsys)
    assert contents(run_dir) == before


def test_what_a_run_begins_from_is_not_removed(fit_args: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    main(fit_args(run_dir))
    before = contents(run_dir)
    for option, path in (("--ckpt_path", run_dir / BEST), ("--model.init_from", run_dir)):
        said = refusal([*fit_args(run_dir), "--overwrite", option, str(path)], capsys)
        assert f"--overwrite would remove {path}, from which {option} begins; choose another --run_dir" in said
        assert contents(run_dir) == before
    kept = str(shutil.copy(run_dir / BEST, run_dir / "kept.ckpt"))
    check_free(run_dir, resume=False, overwrite=True, begun_from={"--ckpt_path": kept})


@pytest.mark.parametrize(("minutes", "steps"), [(10.0, [11]), (0.0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])])
def test_checkpoints_are_written_by_the_clock(
    minutes: float, steps: list[int], fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    write = LastCheckpoint.save

    def save(self: LastCheckpoint, trainer: Any) -> None:
        write(self, trainer)
        found.append(torch.load(self.path, weights_only=True)["global_step"])

    monkeypatch.setattr(LastCheckpoint, "save", save)
    monkeypatch.setattr(LastCheckpoint, "minutes", minutes)
    main(fit_args(tmp_path / "run"))
    assert found == steps
