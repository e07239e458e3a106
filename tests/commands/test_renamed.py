"""An option or a class under its old name is refused with the new one."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

import ftlit
from ftlit.commands.renamed import RENAMED, renamed, renamed_option
from tests.support.command_line import arguments, refusal


def owner(key: str) -> Any:
    """The class whose option a key names, None for an option of the command or the name of a class."""
    name, dot, _ = key.rpartition(".")
    if name == "data":
        return ftlit.CorpusData
    return {"model": ftlit.TextClassification}.get(name) or (getattr(ftlit, name) if dot else None)


def options(kind: type) -> set[str]:
    return {name for parent in inspect.getmro(kind)[:-1] for name in inspect.signature(parent).parameters}


@pytest.mark.parametrize("key", [key for key in RENAMED if "." in key])
def test_an_old_option_is_refused_with_its_new_name(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, (section, _, old) = owner(key), key.rpartition(".")
    assert old not in options(kind)
    assert RENAMED[key].rpartition(".")[2] in options(kind)
    said = f"error: {key} is now called {RENAMED[key]}\n"
    task, data = ("MaskedLM", "CorpusData") if section == "data" else ("TextClassification", "TextClassificationData")
    config: dict[str, Any] = {"model": {"class_path": task, "init_args": {"backbone": "none"}}}
    config["data"] = {"class_path": data, "init_args": {"dataset": "none"}}
    tuning = section not in ("model", "data")
    if tuning:
        config["model"]["init_args"]["tuning"] = {"class_path": section, "init_args": {old: 1}}
    else:
        config[section]["init_args"][old] = 1
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert said in refusal(["fit", "--config", str(tmp_path / "c.yaml")], capsys)
    flags = {"model__tuning": section, f"model__tuning__{old}": 1} if tuning else {f"{section}__{old}": 1}
    given = {"model__backbone": "none", "data__dataset": "none"}
    assert said in refusal(arguments("fit", task, data, **given, **flags), capsys)


@pytest.mark.parametrize("old", ["before", "tripwires"])
def test_an_old_option_of_the_command(old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"model__backbone": "none", "data__dataset": "none"}
    said = f"error: {old} is now called {RENAMED[old]}\n"
    assert said in refusal(arguments("fit", "TextClassification", "TextClassificationData", **given, **{old: "true"}), capsys)
    (tmp_path / "c.yaml").write_text(f"{old}: true\n")
    assert said in refusal(["fit", "--config", str(tmp_path / "c.yaml")], capsys)


@pytest.mark.parametrize("path", ["Both", "ftlit.tuning.Both"])
def test_an_old_class(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"model__backbone": "none", "data__dataset": "none", "model__tuning": path}
    said = refusal(arguments("fit", "TextClassification", "TextClassificationData", **given), capsys)
    assert "error: Both is now called Combined\n" in said


def test_other_names_have_no_sentence() -> None:
    assert renamed("patience") is None
    assert renamed("warmup") is None  # of the command, which never had it
    assert renamed_option(ftlit.TextClassification, "warmup") == "model.warmup is now called model.warmup_ratio"
    assert renamed_option(ftlit.QLoRA, "every") is None
