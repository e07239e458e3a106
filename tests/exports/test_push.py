"""Pushing to a hub on loopback, by the client of the real one: what arrives, and what is refused without a trace."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

import ftlit
from ftlit.__main__ import main
from ftlit.exports import verify, verify_script
from tests.support.command_line import ftlit as in_new_process
from tests.support.command_line import refusal
from tests.support.hub import Files, files_of
from tests.support.models import tiny_model
from tests.support.written_hub import WrittenHub, problems

Finished = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
TOKEN, READER = "hf_" + "w" * 30, "hf_" + "r" * 30
TEXTS = ["good day", "bad day"]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "run_in_new_process", lambda work, module=verify_script: module.main(work))
        main(["export", "--run", str(finished("Full")), "--output", str(folder)])
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WrittenHub]:
    """A hub that this process takes for the real one, with the token of `me`."""
    made = WrittenHub()
    made.tokens = {TOKEN: ("me", "write"), READER: ("reader", "read")}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with made.serving() as address:
        settings = {"ENDPOINT": address, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}
        for name, value in {**settings, "HF_TOKEN_PATH": str(tmp_path / "token")}.items():
            monkeypatch.setattr(constants, name, value)
        yield made


def pushed(folder: Path, *options: str) -> None:
    main(["push", "--run", str(folder), "--repo", "me/sentiment", *options])


def refused(folder: Path, capsys: Capture, *options: str, repo: str = "me/sentiment") -> str:
    """The sentence of a push that must fail."""
    said = refusal(["push", "--run", str(folder), "--repo", repo, *options], capsys)
    assert TOKEN not in said
    return said.removeprefix("error: ").strip()


def text_of(files: Files) -> str:
    """All files but the weights as one text."""
    return "".join(content.decode() for name, content in files.items() if name != WEIGHTS)


# What arrives


def test_a_folder_arrives_whole_in_one_commit(exported: Path, hub: WrittenHub, tmp_path: Path, capsys: Capture) -> None:
    pushed(exported)
    said, files = capsys.readouterr(), hub.files("me/sentiment")
    assert "pushed 7 files" in said.out
    assert f"to {constants.ENDPOINT}/me/sentiment (private)" in said.out
    assert hub.repositories["models", "me/sentiment"].private
    assert hub.messages == ["Upload out with ftlit"]
    assert set(files) == {".gitattributes", *files_of(exported)}
    assert files[WEIGHTS] == (exported / WEIGHTS).read_bytes()
    for name, content in files.items():
        (tmp_path / "got" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "got" / name).write_bytes(content)
    found, expected = (ftlit.load(place, device="cpu")(TEXTS, scores=True) for place in (tmp_path / "got", exported))
    assert found == expected
    card = ModelCard.load(tmp_path / "got" / "README.md")
    assert card.data.eval_results  # type: ignore[attr-defined]
    assert "$ hf download me/sentiment --local-dir this/folder" in card.text
    assert TOKEN not in said.out + said.err + text_of(files)


def test_folders_and_secrets_of_this_machine_stay_here(
    exported: Path, finished: Finished, hub: WrittenHub, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    write(folder, files_of(exported))
    about = json.loads((folder / "ftlit.json").read_text())
    backbone = json.loads((finished("Full") / "run.json").read_text())["backbone"]
    own = {str(Path(path).parent) for path in (about["data"]["dataset"], backbone)}
    assert all(Path(folder).is_dir() for folder in own)
    (folder / "backbone").mkdir()
    (folder / "backbone/config.json").write_text(json.dumps({"_name_or_path": backbone}))
    about["data"]["label_names"] = ["/a/bad", "good"]
    (folder / "ftlit.json").write_text(json.dumps({**about, "note": f"https://me:geheim@x.org {TOKEN}"}))
    (folder / ".env").write_text(TOKEN)
    pushed(folder)
    text = text_of(hub.files("me/sentiment"))
    assert [folder for folder in own if folder in text] == []
    assert TOKEN not in text
    assert "geheim" not in text
    arrived = json.loads(hub.files("me/sentiment")["ftlit.json"])
    assert arrived["data"]["dataset"] == f".../{Path(about['data']['dataset']).name}"
    assert arrived["data"]["label_names"] == ["/a/bad", "good"]
    assert ".env" not in hub.files("me/sentiment")


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content)


def test_overwrite_replaces_everything_in_one_commit(exported: Path, hub: WrittenHub, capsys: Capture) -> None:
    repository = hub.new("me/sentiment", private=True)
    repository.commit({**hub.files("me/sentiment"), "old.bin": b"old", "README.md": b"old"})
    assert "me/sentiment has files already (README.md, old.bin, ...); replace all of them with --overwrite" in refused(
        exported, capsys
    )
    assert len(repository.commits) == 2
    pushed(exported, "--overwrite", "--message", "The second model")
    assert set(hub.files("me/sentiment")) == {".gitattributes", *files_of(exported)}
    assert hub.messages == ["The second model"]


def test_a_new_branch_leaves_main_alone(exported: Path, hub: WrittenHub, capsys: Capture) -> None:
    hub.new("me/sentiment", private=True).commit({"README.md": b"main"})
    pushed(exported, "--revision", "v2")
    assert hub.files("me/sentiment") == {"README.md": b"main"}
    assert set(hub.files("me/sentiment", "v2")) == set(files_of(exported))
    assert "/me/sentiment/tree/v2" in capsys.readouterr().out
    assert "has files already" in refused(exported, capsys, "--revision", "v2")


def test_a_dry_run_asks_nobody(exported: Path, hub: WrittenHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN")
    pushed(exported, "--dry_run", "--public")
    said = capsys.readouterr().out
    for name in files_of(exported):
        assert name in said
    assert "7 files" in said
    assert "a public repository; nothing was sent" in said
    assert hub.requests == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_is_exported_first(finished: Finished, hub: WrittenHub, exported: Path) -> None:
    pushed(finished("Full"), "--public")
    assert not hub.repositories["models", "me/sentiment"].private
    assert hub.files("me/sentiment")[WEIGHTS] == (exported / WEIGHTS).read_bytes()
    assert hub.messages == ["Upload Full with ftlit"]


@pytest.mark.slow
def test_the_environment_decides_where_it_goes(exported: Path, tmp_path: Path) -> None:
    made = WrittenHub()
    made.tokens = {TOKEN: ("me", "write")}
    with made.serving() as address:
        environment = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        args = ["push", "--run", str(exported), "--repo", "me/sentiment"]
        assert f"to {address}/me/sentiment (private)" in in_new_process(args, **environment, HF_HOME=str(tmp_path))
        said = in_new_process(args, 2, **environment | {"HF_HUB_OFFLINE": "1"}, HF_HOME=str(tmp_path))
    assert "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set" in said
    assert problems(made.files("me/sentiment")["README.md"].decode()) == []


# What is refused


def test_without_a_token(exported: Path, hub: WrittenHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "pushing needs an account of the hub: log in with `hf auth login`, or set HF_TOKEN" in refused(exported, capsys)
    assert hub.requests == []
    answers = {"hf_" + "x" * 30: "the hub does not accept the token", READER: "the token of reader may only read"}
    for token, expected in answers.items():
        monkeypatch.setenv("HF_TOKEN", token)
        assert expected in refused(exported, capsys)
    assert hub.repositories == {}


def test_offline(exported: Path, hub: WrittenHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused(exported, capsys).startswith("HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set")
    assert hub.requests == []


def test_an_unreachable_hub(exported: Path, hub: WrittenHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused(exported, capsys).startswith("the hub at http://127.0.0.1:9 cannot be reached")


def test_repositories_of_others_and_names(exported: Path, hub: WrittenHub, capsys: Capture) -> None:
    assert "the token may not write to you/model" in refused(exported, capsys, repo="you/model")
    for name in ("model", "me/a/b", "me/", "https://x.org/me/a", "me/a--b"):
        assert f"--repo {name!r} is no name of a repository; expected user/name" in refused(exported, capsys, repo=name)
    assert hub.repositories == {}


def test_privacy_is_never_less_than_asked_for(exported: Path, hub: WrittenHub, capsys: Capture) -> None:
    hub.new("me/sentiment", private=False)
    assert "me/sentiment is public; add --public" in refused(exported, capsys)
    hub.repositories["models", "me/sentiment"].private = True
    assert "me/sentiment is private; remove --public" in refused(exported, capsys, "--public")
    assert hub.messages == []


@pytest.mark.parametrize("place", ["commit", "preupload", "/large/", "objects/batch"])
def test_a_hub_that_fails_on_the_way(place: str, exported: Path, hub: WrittenHub, capsys: Capture) -> None:
    hub.failing = {place: 400}
    said = refused(exported, capsys)
    assert "nothing was pushed (me/sentiment was created and is empty)" in said
    assert set(hub.files("me/sentiment")) == {".gitattributes"}
    hub.failing = {}
    pushed(exported)
    assert set(hub.files("me/sentiment")) == {".gitattributes", *files_of(exported)}


def test_a_card_that_the_hub_refuses(exported: Path, hub: WrittenHub, capsys: Capture, tmp_path: Path) -> None:
    write(tmp_path / "copy", files_of(exported))
    card = tmp_path / "copy" / "README.md"
    text = card.read_text()
    card.write_text(text.replace("library_name:", "license: unheard-of\nlibrary_name:"))
    assert 'the hub refuses the metadata in README.md: "license" must be one of' in refused(tmp_path / "copy", capsys)
    card.write_text(text.replace("library_name:", "library_name: ["))
    assert "has metadata that the hub could not read" in refused(tmp_path / "copy", capsys)
    card.write_text("# Mine")
    assert "does not begin with the metadata of a model card; export the run again" in refused(tmp_path / "copy", capsys)
    card.unlink()
    assert "has no model card, README.md" in refused(tmp_path / "copy", capsys)
    assert hub.repositories == {}


def test_folders_that_are_no_exports(
    exported: Path, finished: Finished, hub: WrittenHub, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    assert "is neither an exported folder nor a run" in refused(tmp_path / "notes", capsys)
    assert "does not exist" in refused(tmp_path / "none", capsys)
    write(tmp_path / "running", {name: (finished("Full") / name).read_bytes() for name in ("config.yaml", "run.json")})
    record = json.loads((tmp_path / "running/run.json").read_text())
    (tmp_path / "running/run.json").write_text(json.dumps({**record, "status": "running"}))
    assert "is not finished" in refused(tmp_path / "running", capsys)
    write(tmp_path / "copy", files_of(exported))
    os.symlink("/etc/hostname", tmp_path / "copy" / "notes.txt")
    assert "notes.txt is a link; put the file itself into the folder" in refused(tmp_path / "copy", capsys)
    assert hub.repositories == {}


def test_an_adapter_of_a_folder(exported: Path, hub: WrittenHub, capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    write(folder, files_of(exported))
    about = json.loads((folder / "ftlit.json").read_text())
    (folder / "ftlit.json").write_text(json.dumps({**about, "kind": "adapter"}))
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": tiny_model(tmp_path / "bert")}))
    assert "a folder that others do not have; export the run without --adapter-only" in refused(folder, capsys)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "tiny/bert"}))
    pushed(folder)
    assert json.loads(hub.files("me/sentiment")["adapter_config.json"]) == {"base_model_name_or_path": "tiny/bert"}
