"""The command line: short errors, layered configuration, and a saved config that reruns as is."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ftlit.__main__ import main
from ftlit.training.bfloat16 import native_bfloat16
from tests.support.command_line import ROOT, arguments, refusal

Given = dict[str, Any]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture
def given(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> Given:
    return {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}


@pytest.fixture
def run(finished: Callable[[], Path], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(finished(), tmp_path / "run")


def again(command: str, run: Path, *options: str) -> list[str]:
    """Arguments that evaluate a run in its folder."""
    return [command, "--config", f"{run}/config.yaml", "--run_dir", str(run), *options]


def fit(given: Given, **options: Any) -> list[str]:
    return arguments("fit", "TextClassification", "TextClassificationData", **given, **options)


def printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The resolved config that ``--print_config`` shows."""
    with pytest.raises(SystemExit) as left:
        main([*args, "--print_config"])
    assert left.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["fti"], "error: no command 'fti'. Did you mean 'fit'?"),
        (["fit", "--trainer.max_epoch=3"], "error: there is no option --trainer.max_epoch. Did you mean 'trainer.max_epochs'?"),
        (
            ["fit", "--model=TextClasification"],
            "error: there is no class 'TextClasification'. Did you mean 'TextClassification'?",
        ),
        (
            ["fit", "--model=TextClassification", "--model.bakbone=x"],
            "error: TextClassification has no option 'bakbone'. Did you mean 'backbone'?",
        ),
        (
            ["fit", "--model=TextClassification", "--model.backbone=x", "--model.tuning=Lora"],
            "error: there is no class 'Lora'. Did you mean 'LoRA'?",
        ),
        (
            ["fit", "--model=TextClassification", "--model.backbone=x", "--model.tuning=LoRA", "--model.tuning.rank=3"],
            "error: LoRA has no option 'rank'. There are: r, alpha, dropout, targets, layers, dora, rslora, init.",
        ),
        (
            [
                *("fit", "--model=TextClassification", "--model.backbone=x", "--model.tuning=LoRA", "--model.tuning.r=0"),
                *("--data=TextClassificationData", "--data.dataset=y"),
            ],
            "error: model.tuning.r must be at least 1, got 0",
        ),
        (["fit", "--model=TextClassification"], "error: TextClassification: the following arguments are required: backbone"),
        (
            ["fit", "--model=TextClassification", "--model.backbone=x", "--model.warmup_ratio=soon"],
            "error: model.warmup_ratio: expected float, got soon",
        ),
    ],
)
def test_a_typo_gets_one_line(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(args)
    said = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert said[0] == line
    assert len(said) <= 2


def test_a_key_of_a_yaml_file_that_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e.yaml").write_text("trainer: {max_epoch: 3}\n")
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tmp_path / "e.yaml")])
    assert "there is no option 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?" in capsys.readouterr().err


def test_group_files_are_named_relative_to_the_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups/lora.yaml").write_text("{class_path: LoRA, init_args: {r: 3}}")
    model = {"class_path": "TextClassification", "init_args": {"backbone": "x", "tuning": "groups/lora.yaml"}}
    data = {"class_path": "TextClassificationData", "init_args": {"dataset": "y"}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({"model": model, "data": data}))
    (tmp_path / "over.yaml").write_text("model: {init_args: {tuning: {init_args: {alpha: 5}}}}")
    files = ["--config", str(tmp_path / "e.yaml"), "--config", str(tmp_path / "over.yaml")]
    config = printed(["fit", *files, "--model.tuning.dropout=0.25"], capsys)
    assert config["model"]["init_args"]["tuning"] == {
        "class_path": "ftlit.LoRA",
        "init_args": {
            **{"r": 3, "alpha": 5.0, "dropout": 0.25, "targets": "all-linear", "layers": None},
            **{"dora": False, "rslora": False, "init": "default"},
        },
    }


def test_environment_variables_come_before_flags(
    given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTLIT_FIT__PATIENCE", "7")
    monkeypatch.setenv("FTLIT_FIT__EVALUATE_UNTRAINED", "true")
    monkeypatch.setenv("FTLIT_TEST__PATIENCE", "5")  # of another command
    config = printed(fit(given, evaluate_untrained="false"), capsys)
    assert (config["patience"], config["evaluate_untrained"]) == (7, False)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("FTLIT_FIT__PATIENCEE", "there is no option FTLIT_FIT__PATIENCEE, which is set in the environment. Did you mean "
         "'FTLIT_FIT__PATIENCE'?"),
        ("FTLIT_PATIENCE", "there is no option FTLIT_PATIENCE, which is set in the environment. Did you mean "
         "'FTLIT_FIT__PATIENCE'?"),
        ("FTLIT_FIT__BEFORE", "there is no option FTLIT_FIT__BEFORE, which is set in the environment. before is now called "
            "evaluate_untrained"),
        ("FTLIT_FITT__PATIENCE", "there is no option FTLIT_FITT__PATIENCE, which is set in the environment."),
    ],
)  # fmt: skip
def test_an_unknown_environment_variable_is_a_typo(
    name: str, sentence: str, given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "5")
    assert f"error: {sentence}" in refusal(fit(given), capsys)
    assert not given["run_dir"].exists()


@pytest.mark.parametrize(
    ("args", "option"),
    [
        ([], "--trainer.max_epochs"),
        (["--model.help", "TextClassification"], "--model.head_lr_factor"),
        (["--data.help", "TextClassificationData"], "--data.shots"),
        (["--model", "TextClassification", "--model.tuning.help", "LoRA"], "tuning.rslora"),
    ],
)
def test_every_option_is_explained(args: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["fit", *(args or ["--help"])])
    assert left.value.code == 0
    assert option in capsys.readouterr().out


def test_the_saved_config_reruns_as_is(given: Given, tmp_path: Path) -> None:
    main(fit(given, test_after_fit="true", model__tuning="LoRA", seed_everything=3))
    saved = tmp_path / "run/config.yaml"
    assert yaml.safe_load(saved.read_text())["model"]["init_args"]["tuning"]["class_path"] == "ftlit.LoRA"
    main(["fit", "--config", str(saved), "--run_dir", str(tmp_path / "again")])
    for name in ("metrics.csv", "predictions/test.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    again = yaml.safe_load((tmp_path / "again/config.yaml").read_text())
    assert again == {**yaml.safe_load(saved.read_text()), "run_dir": str(tmp_path / "again")}


def test_the_config_beats_the_hyper_parameters_of_a_checkpoint(
    given: Given, finished: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**given, "run_dir": tmp_path / "other"}
    last = finished("LoRA") / "checkpoints/last.ckpt"
    said = refusal(fit(other, model__tuning="LoRA", model__tuning__r=4, ckpt_path=last), capsys)
    assert "the checkpoint was not made with model.tuning LoRA" in said  # rank 4 is built, and weights of rank 2 do not fit
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_training_goes_on_from_a_whole_checkpoint_alone(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(fit(given, model__tuning="BitFit"))
    other, folder = {**given, "run_dir": tmp_path / "other"}, tmp_path / "run/checkpoints"
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes((folder / "last.ckpt").read_bytes()[:1000])
    for path, sentence in (
        (folder / "best.ckpt", f"--ckpt_path {folder}/best.ckpt holds weights only"),
        (folder / "none.ckpt", f"the checkpoint {folder}/none.ckpt does not exist"),
        (damaged, f"{damaged} is not a checkpoint of ftlit, or is damaged"),
    ):
        assert sentence in refusal(fit(other, model__tuning="BitFit", ckpt_path=path), capsys)
    assert "--overwrite would remove" in refusal([*fit(given, model__tuning="BitFit", ckpt_path="last"), "--overwrite"], capsys)
    assert not (tmp_path / "other").exists()
    main(fit(other, model__tuning="BitFit", ckpt_path=folder / "last.ckpt", trainer__max_epochs=2))
    first, second = (json.loads((tmp_path / name / "run.json").read_text())["steps"] for name in ("run", "other"))
    assert second == 2 * first


@pytest.mark.slow
def test_other_data_are_weighed_as_in_training(given: Given, sentiment: str, tmp_path: Path) -> None:
    main(fit(given, test_after_fit="true", model__loss="CrossEntropy", model__loss__class_weights="balanced"))
    (tmp_path / "other").mkdir()
    shutil.copy(f"{sentiment}/test.jsonl", tmp_path / "other/test.jsonl")
    best, again = tmp_path / "run/checkpoints/best.ckpt", tmp_path / "again"
    other = ["--data.dataset", str(tmp_path / "other"), "--data.label_names", "[bad, good]"]
    main(["test", "--config", str(tmp_path / "run/config.yaml"), "--run_dir", str(again), "--ckpt_path", str(best), *other])
    results = [json.loads((folder / "results.json").read_text())["test"] for folder in (tmp_path / "run", again)]
    assert results[0] == results[1]


def test_the_loss_is_logged_never_on_request(given: Given, tmp_path: Path) -> None:
    main(fit(given, trainer__log_every_n_steps=0))
    assert "train/loss" not in (tmp_path / "run/metrics.csv").read_text()


@pytest.mark.slow
def test_a_run_is_evaluated_by_its_own_checkpoint_not_by_what_it_began_from(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(fit(given))
    began, run_dir = str(tmp_path / "run/checkpoints/last.ckpt"), tmp_path / "other"
    main(fit({**given, "run_dir": run_dir}, ckpt_path=began, trainer__max_epochs=2, test_after_fit="true"))
    predictions = (run_dir / "predictions/test.jsonl").read_bytes()
    again = ["test", "--config", str(run_dir / "config.yaml")]
    main(again)
    assert (run_dir / "predictions/test.jsonl").read_bytes() == predictions
    main([*again, "--ckpt_path", began])
    assert (run_dir / "predictions/test.jsonl").read_bytes() != predictions
    elsewhere = ["--run_dir", str(tmp_path / "elsewhere")]
    assert f"{tmp_path}/elsewhere holds no finished run" in refusal([*again, *elsewhere], capsys)
    main([*again, *elsewhere, "--ckpt_path", str(run_dir / "checkpoints/best.ckpt")])
    assert (tmp_path / "elsewhere/predictions/test.jsonl").read_bytes() == predictions


def test_test_uses_the_best_checkpoint_of_the_run_and_keeps_the_metrics_of_training(run: Path) -> None:
    results, metrics = json.loads((run / "results.json").read_text()), (run / "metrics.csv").read_bytes()
    predictions = (run / "predictions/test.jsonl").read_bytes()
    (run / "predictions/test.jsonl").unlink()
    main(again("test", run))
    assert json.loads((run / "results.json").read_text()) == results
    assert (run / "predictions/test.jsonl").read_bytes() == predictions
    assert (run / "metrics.csv").read_bytes() == metrics


def test_results_of_other_data_do_not_replace_those_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = (run / "results.json").read_bytes()
    said = refusal(again("validate", run, "--data.limit_validation", "20"), capsys)
    assert "holds a run on other validation data" in said
    assert (run / "results.json").read_bytes() == results


def test_before_shows_the_gain_and_changes_nothing_else(given: Given, tmp_path: Path) -> None:
    main(fit(given))
    main(fit({**given, "run_dir": tmp_path / "b"}, evaluate_untrained="true"))
    results = json.loads((tmp_path / "b/results.json").read_text())
    assert results["before"]["validation"]["loss"] != results["validation"]["loss"]
    assert (tmp_path / "b/metrics.csv").read_bytes() == (tmp_path / "run/metrics.csv").read_bytes()
    weights = [torch.load(tmp_path / d / "checkpoints/best.ckpt", weights_only=True)["state_dict"] for d in ("run", "b")]
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['ftlit', '--help']\nfrom ftlit.__main__ import main\ntry: main()\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "predict" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_weights_and_biases_offline_gets_the_evidence(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    main(
        fit(
            given,
            test_after_fit="true",
            trainer__logger=ROOT / "configs/logger/wandb.yaml",
            trainer__logger__offline="true",
            trainer__logger__group="a-study",
        )
    )
    import wandb

    assert wandb.run is not None
    summary, config, group = dict(wandb.run.summary), dict(wandb.run.config), wandb.run.group
    folder = Path(wandb.run.dir)
    wandb.finish()
    assert group == "a-study"
    assert config["model"]["class_path"] == "ftlit.TextClassification"
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert summary["test/accuracy"] == pytest.approx(results["test"]["accuracy"])
    assert list(folder.rglob("*per_class*.json"))
    assert list(folder.rglob("*confusion*.png"))


def test_tensorboard_by_class_path(given: Given, tmp_path: Path) -> None:
    main(fit(given, trainer__logger="TensorBoardLogger"))
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


@pytest.mark.skipif(not native_bfloat16(torch.device("cpu")), reason="this processor does not multiply bfloat16")
def test_mixed_precision_with_the_default_optimizer_and_clipping(given: Given, tmp_path: Path) -> None:
    main(fit(given, trainer__precision="bf16-mixed", trainer__gradient_clip_val=1.0))
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "completed"


def test_resuming_with_examples_in_another_order_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = refusal(["fit", "--resume", "--run_dir", str(run), "--data.batching.batch_size", "4"], capsys)
    assert "data.batching was LengthGrouped(batch_size=8, pool=50), is LengthGrouped(batch_size=4, pool=50)" in said
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_checkpoint_of_other_labels_is_refused(
    finished: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["--run_dir", str(tmp_path / "other"), "--ckpt_path", f"{finished()}/checkpoints/best.ckpt"]
    said = refusal(["test", "--config", f"{finished()}/config.yaml", *other, "--data.label_names", "[good, bad]"], capsys)
    assert "was trained on the labels ['bad', 'good'], but the data have ['good', 'bad']" in said
