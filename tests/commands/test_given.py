"""Config files and classes that a command is given: what is wrong with them is said with the file, the line and the key."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.commands.check_config import allows_null
from ftlit.commands.links import DATA_OF, check_pair
from ftlit.errors import UserError
from ftlit.training.trainer import TRAINER_DEFAULTS, check_processes, trainer_arguments
from tests.support.command_line import arguments, refusal
from tests.test_interface import concrete, import_everything, is_internal


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "c.yaml is damaged: it is empty"),
        (b"- a\n", "c.yaml holds list; it should hold keys and values"),
        ("run_dir: x\n".encode("utf-16"), "c.yaml is damaged: it is not a text in UTF-8"),
        (b"model:\n\tclass_path: x\n", "c.yaml is not valid YAML: line 2: found character '\\t' that cannot start any token"),
        (b"run_dir: a\nrun_dir: b\n", "c.yaml, line 2: the key 'run_dir' is given twice"),
        (b"trainer:\n  max_epochs: 1\n  max_epochs: 2\n", "c.yaml, line 3: the key 'max_epochs' is given twice"),
        (b"trainer: [1]\n", "c.yaml: trainer should hold keys and values, such as max_epochs: 3; got [1]"),
        (b"model: [1]\n", "c.yaml: model should hold class_path and init_args; got [1]"),
        (b"model: {class_path: CausalLM, init_arg: {}}\n", "c.yaml: model has the key 'init_arg'. Did you mean 'init_args'?"),
        (b"model: inner.yaml\n", "inner.yaml, line 2: the key 'class_path' is given twice"),
        (
            b"trainer: {callbacks: [{class_path: X, args: 1}]}\n",
            "c.yaml: trainer.callbacks has the key 'args'. Did you mean 'init_args'?",
        ),
    ],
)
def test_config_files(content: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner.yaml").write_text("class_path: CausalLM\nclass_path: Seq2Seq\n")
    (tmp_path / "c.yaml").write_bytes(content)
    assert f"error: {sentence}" in refusal(["fit", "--config", "c.yaml"], capsys)


def test_config_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment.yaml").write_text("run_dir: x\n")
    (tmp_path / "link.yaml").symlink_to("gone.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, sentence in (
        ("experimant.yaml", "--config experimant.yaml does not exist. Did you mean 'experiment.yaml'?"),
        ("link.yaml", "--config link.yaml is a link to gone.yaml, which does not exist"),
        ("folder.yaml", "folder.yaml cannot be read: is a directory"),
    ):
        assert f"error: {sentence}" in refusal(["fit", f"--config={name}"], capsys)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "fit needs data and model: add --data TextClassificationData --model TextClassification"),
        (
            ["--model=TextClassification", "--data.dataset=my.csv"],
            "--data.dataset is an option of a class, and none is given: add --data TextClassificationData, or another",
        ),
        (["--model=TextClassificationData"], "model cannot be TextClassificationData, which is a TaskData: give it as data"),
        (["--data=TextClassification"], "data cannot be TextClassification, which is a TaskModule: give it as model"),
        (["--model=CausalLM", "--model.head=LoRA"], "model.head cannot be LoRA, which is a Tuning: give it as model.tuning"),
        (["--model=CausalLM", "--model.lr=1"], "CausalLM has no option 'lr'. Did you mean 'model.optimizer.lr'?"),
        (["--batch_size=8"], "there is no option --batch_size. Did you mean 'data.batching.batch_size'?"),
        (["--trainer=[1]"], "the command line: trainer should hold keys and values, such as max_epochs: 3; got [1]"),
    ],
)
def test_options_in_the_wrong_place(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(["fit", *args], capsys).splitlines()[0] == f"error: {sentence}"


def test_help_on_a_class_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    from ftlit.__main__ import main

    with pytest.raises(SystemExit):
        main(["fit", "--model.help", "TextClassification"])
    assert "__main__.py" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "TextRegression"}, "model TextRegression trains on data TextRegressionData, not on TextClassificationData"),
        ({"model__tuning": "null"}, "model.tuning must not be null; leave it out for its default"),
        ({"model__optimizer": "null"}, "model.optimizer must not be null; leave it out for its default"),
        ({"data__batching": "null", "data__batching__batch_size": None}, "data.batching must not be null"),
        ({"run_dir": "null"}, "run_dir must be the name of a folder, such as runs/mine"),
        ({"seed_everything": "-1"}, "seed_everything must be from 0 to 4294967295, got -1"),
        ({"seed_everything": "true"}, "seed_everything: expected int, got True"),
        ({"trainer__max_epochs": -5}, "trainer.max_epochs must be at least 1, or -1, got -5"),
        ({"trainer__devices": "99"}, "trainer.devices is 99, but this machine has"),
        ({"trainer__accelerator": "gpu"}, "trainer: No supported gpu backend found!"),
        ({"trainer__strategy": "fsdp"}, "trainer: The strategy `fsdp` requires a GPU accelerator"),
        ({"model__optimizer": "AdamW", "model__optimizer__lr": 0}, "model.optimizer.lr must be above 0, got 0.0"),
        ({"data__label": "text"}, "data.text and data.label are both the column 'text'; change one of them"),
        ({"data__augmented_copies": 2}, "data.augmented_copies is the number of copies that data.augment makes"),
        ({"data__label_names": "[good,bad,good]"}, "data.label_names lists 'good' twice, got ['good', 'bad', 'good']"),
        (
            {"data__augment": "[{class_path: RandomDeletion, init_args: {probability: 2}}]"},
            "data.augment: RandomDeletion.probability must be above 0 and below 1, got 2.0",
        ),
        (
            {"model__tuning": "Combined", "model__tuning__methods": "[BitFit, {class_path: LoRA, init_args: {r: 0}}]"},
            "model.tuning.r must be at least 1, got 0",
        ),
    ],
)
def test_settings_that_do_not_fit(
    options: dict[str, Any], sentence: str, tiny: Callable[[str], str], sentiment: str, tmp_path: Path, capsys: Any
) -> None:
    given = {"model": "TextClassification", "run_dir": tmp_path / "run", **options}
    args = arguments("fit", data="TextClassificationData", model__backbone=tiny("bert"), data__dataset=sentiment, **given)
    said = refusal(args, capsys)
    assert said.startswith(f"error: {sentence}")
    assert len(said.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_every_task_knows_its_data() -> None:
    import_everything()
    assert {kind for kind in concrete(ftlit.TaskModule) if not is_internal(kind)} == set(DATA_OF)
    known = {kind for kinds in DATA_OF.values() for kind in kinds}
    assert {kind for kind in concrete(ftlit.TaskData) if not is_internal(kind)} == known
    for task, kinds in DATA_OF.items():
        for data in known - set(kinds):
            with pytest.raises(UserError, match=f"model {task.__name__} trains on data"):
                check_pair(task, data)


def test_classes_outside_the_package_may_go_together() -> None:
    class Own(ftlit.TextRegression):
        """A task of a user."""

    class OwnData(ftlit.TextRegressionData):
        """Its data."""

    class Other(ftlit.TaskData):
        """Data that derive from none of ours."""

    for data in (ftlit.TextRegressionData, OwnData, Other):
        check_pair(Own, data)
    with pytest.raises(UserError, match="model Own trains on data TextRegressionData, not on ChatData"):
        check_pair(Own, ftlit.ChatData)


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        (ftlit.TextClassification, "tuning", False),
        (ftlit.TextClassification, "loss", True),
        (ftlit.TextClassification, "optimizer", False),
        (ftlit.TextClassification, "monitor", True),
        (ftlit.TextClassificationData, "batching", False),
        (ftlit.TextClassificationData, "text_pair", True),
        (ftlit.CausalLM, "generation", False),
        (ftlit.LoRA, "layers", True),
        (ftlit.LoRA, "r", False),
        (dict, "anything", True),
    ],
)
def test_where_null_is_a_value(kind: type, name: str, allowed: bool) -> None:
    assert allows_null(kind, name) is allowed


def test_the_default_precision_is_that_of_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("ftlit.training.bfloat16.cpu_multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert trainer_arguments({"accelerator": "auto"})["precision"] == "bf16-mixed"
    assert trainer_arguments({"accelerator": "gpu"})["precision"] == "bf16-mixed"
    assert trainer_arguments({"accelerator": "cpu"})["precision"] == "32-true"
    assert trainer_arguments({"accelerator": "gpu", "precision": "32-true"})["precision"] == "32-true"
    assert "precision" not in TRAINER_DEFAULTS


def test_a_cpu_is_not_shared_by_many_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Made:
        num_devices = 5

        class strategy:  # noqa: N801
            root_device = torch.device("cpu")

    monkeypatch.setattr("os.cpu_count", lambda: 8)
    check_processes(Made())
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(UserError, match=r"trainer\.devices is 5, but this machine has 2 cores"):
        check_processes(Made())


@pytest.mark.parametrize("args", [["predict", "--run=x"], ["study", "run", "x.yaml"], ["diff", "a", "b"]])
def test_commands_without_options_in_the_environment(args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("FTLIT_FIT__PATIENCE", "5")
    assert "FTLIT" not in refusal(args, capsys)
    monkeypatch.setenv(f"FTLIT_{args[0].upper()}__RUN", "5")
    assert f"there is no option FTLIT_{args[0].upper()}__RUN, which is set in the environment. Unset it." in refusal(
        args, capsys
    )
