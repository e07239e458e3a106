"""Nothing that a stranger put into a run or an exported folder runs, whatever is done with it."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.data.chats.turns import ChatTemplate
from ftlit.errors import UserError
from ftlit.exports import verify, verify_script
from ftlit.util.trust import check_source
from tests.support.command_line import ROOT, refusal
from tests.support.hostile import WAYS, Planted, planted
from tests.support.models import tiny_tokenizer
from tests.support.small import classifier
from tests.support.speeds import some_by_default
from tests.support.study.synthetic import first_trials, made

Tiny = Callable[[str], str]
Finished = Callable[..., Path]
TEXTS = ["good word1", "bad word2"]


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "exported"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "run_in_new_process", verify_script.main)
        main(["export", "--run", str(finished("Full")), "--output", str(folder)])
    return folder


@pytest.fixture
def present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, in which Python would look first for every module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    return tmp_path


def report(run: Path) -> None:
    """Report a study with the stranger's run in the place of one of its cells."""
    plan, folder = made(run.parent, axes={"tuning": {"Full": {"model.tuning": "Full"}, "LoRA": {"model.tuning": "LoRA"}}})
    cell = folder.run_dir(first_trials(plan, plan.arms[0])[0].name)
    shutil.copytree(run, cell, dirs_exist_ok=True)
    main(["study", "report", str(run.parent / "made.yaml")])


COMMANDS: dict[str, Callable[[Path, str], Any]] = {
    "predict": lambda run, tiny: main(["predict", "--run", str(run), "--input", "in.txt", "--output", "out.jsonl"]),
    "load": lambda run, tiny: ftlit.load(run)(TEXTS),
    "open_run": lambda run, tiny: ftlit.open_run(run).predict(TEXTS),
    "init_from": lambda run, tiny: classifier(tiny, init_from=str(run)),
    "export": lambda run, tiny: main(["export", "--run", str(run), "--output", "out"]),
    "test": lambda run, tiny: main(["test", "--config", f"{run}/config.yaml", "--trainer.enable_progress_bar=false"]),
    "validate": lambda run, tiny: main(["validate", "--config", f"{run}/config.yaml", "--trainer.enable_progress_bar=false"]),
    "diff": lambda run, tiny: main(["diff", str(run), str(shutil.copytree(run, run.parent / "other"))]),
    "study report": lambda run, tiny: report(run),
}
CASES = [(way, command) for way in WAYS for command in COMMANDS]
SHOWN = [
    *(("the flag, and a model's code", command) for command in ("predict", "init_from", "test")),
    *(("a task", command) for command in ("export", "init_from")),
    *(("classes in the config", "test"), ("a callback in the config", "test"), ("a function of rows", "export")),
    *(("a tuning method as text", "predict"), ("an optimizer", "load"), ("batches", "open_run")),
    *(("a pickle in the state of the optimizer", "load"), ("a pickle as weights", "test")),
    *(("a tag in the config", "diff"), ("a tag in the config", "test"), ("an adapter's module", "predict")),
    *(("the flag in a head", "load"), ("a tokenizer's code", "load"), ("data", "study report")),
]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("way", "command"), some_by_default(CASES, [CASES.index(case) for case in SHOWN]))
def test_a_run(way: str, command: str, finished: Finished, tiny: Tiny, present: Path) -> None:
    stranger = planted(way, finished("Full"), tiny("bert"), present)
    with contextlib.suppress(SystemExit, Exception):
        COMMANDS[command](stranger.folder, tiny("bert"))
    assert not stranger.mark.exists()


FOLDERS = [(way, command) for way in WAYS for command in ("predict", "load", "init_from")]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("way", "command"),
    some_by_default(FOLDERS, [i for i, case in enumerate(FOLDERS) if case in SHOWN or case == ("a task", "load")]),
)
def test_an_exported_folder(way: str, command: str, exported: Path, tiny: Tiny, present: Path) -> None:
    stranger = planted(way, exported, tiny("bert"), present)
    with contextlib.suppress(SystemExit, Exception):
        COMMANDS[command](stranger.folder, tiny("bert"))
    assert not stranger.mark.exists()


@pytest.fixture
def stranger(finished: Finished, tiny: Tiny, present: Path, request: pytest.FixtureRequest) -> Planted:
    return planted(request.param, finished("Full"), tiny("bert"), present)


@pytest.mark.parametrize("stranger", ["a tuning method"], indirect=True)
def test_the_refusal_names_the_class_and_the_flag(stranger: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["predict", "--run", str(stranger.folder), "--input", "in.txt", "--output", "out.jsonl"]
    assert refusal(args, capsys) == (
        "error: the class evil.Tuning is not one of ftlit, and is not imported because a run or a file names it; if you trust "
        "its code, name it with --trust_classes evil.Tuning\n"
    )
    main([*args, "--trust_classes", "evil.Tuning"])
    assert stranger.mark.exists()
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("stranger", ["the flag, and a model's code"], indirect=True)
def test_the_flag_of_the_command_counts(stranger: Planted) -> None:
    assert len(ftlit.load(stranger.folder, trust_remote_code=True)(TEXTS)) == 2
    assert stranger.mark.exists()


@pytest.mark.parametrize("stranger", ["a model's code"], indirect=True)
def test_a_model_that_is_nothing_without_its_code(stranger: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    config = stranger.backbone / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "evil"}))
    said = refusal(["test", "--config", f"{stranger.folder}/config.yaml"], capsys)
    expected = f"error: model.backbone {str(stranger.backbone)!r} comes with code of its own, which runs only if your "
    assert said.startswith(expected)
    assert len(said.splitlines()) <= 2
    assert not stranger.mark.exists()


def test_of_the_functions_of_ftlit_a_folder_may_name_that_of_the_quickstart_alone() -> None:
    check_source("ftlit.data.chatterbot:topics", None)
    others = (
        "ftlit.data.chatterbot:_folder",
        "ftlit.__main__:main",
        "ftlit.util.files:os",
        "ftlit.data.chatterbot_topics:topics",
    )
    for name in others:
        with pytest.raises(UserError, match=f"data.dataset {name} is a function, and is not called"):
            check_source(name, None)


def test_a_template_that_leaves_its_sandbox(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    tokenizer: Any = tiny_tokenizer()
    for source in (
        f"{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}",
        f"{{{{ messages.__class__.__mro__[1].__subclasses__()[0].__init__.__globals__['os'].system('touch {mark}') }}}}",
        "{{ ''.format.__self__.__class__.__base__.__subclasses__() }}{% set x = messages.append({}) %}",
    ):
        (tmp_path / "template.jinja").write_text(source)
        with pytest.raises(UserError, match="the chat template"):
            ChatTemplate(tokenizer, str(tmp_path / "template.jinja"))
        assert not mark.exists()


@pytest.mark.parametrize("command", [["diff", "--help"], pytest.param(["predict", "--help"], marks=pytest.mark.slow)])
def test_modules_of_the_present_folder_replace_none(command: list[str], present: Path) -> None:
    for name in ("tabulate", "yaml", "torch", "jsonargparse", "peft", "datasets"):
        (present / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(present / 'mark')!r}).touch()\n")
    done = subprocess.run(
        [sys.executable, "-m", "ftlit", *command], cwd=present, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (present / "mark").exists()


def test_an_export_says_nothing_of_trust(exported: Path) -> None:
    about = json.loads((exported / "ftlit.json").read_text())
    assert about["task"]["trust_remote_code"] is False
