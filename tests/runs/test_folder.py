"""Only the folder of a run is replaced, and only its files."""

import json
from pathlib import Path

import pytest

from ftlit.errors import UserError
from ftlit.runs.files import CONTENTS, RECORD
from ftlit.runs.folder import check_free, clear, remove_parts, run_folder
from tests.support.command_line import arguments, refusal


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


@pytest.mark.parametrize("files", [["config.yaml", "predictions/a.csv"], ["checkpoints/mine.pt"], ["results.json"]])
def test_other_folders_are_neither_emptied_nor_written_to(files: list[str], tmp_path: Path) -> None:
    folder = written(tmp_path, *files)
    said = rf"holds no run: it has no run.json, and fit would overwrite its {files[0].split('/')[0]}"
    for overwrite in (False, True):
        with pytest.raises(UserError, match=said):
            check_free(folder, resume=False, overwrite=overwrite)
    with pytest.raises(UserError, match=r"holds no run: it has no run.json; choose another --run_dir"):
        check_free(folder, resume=True, overwrite=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"name": "a web page"}', "run.json is that of another program"), ("", "it is empty"), ("{", "not valid JSON"),
     ("[]", "it holds list"), ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS")],
)  # fmt: skip
def test_a_record_of_another_kind_is_no_run(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(content)
    for resume, overwrite in ((False, True), (True, False), (False, False)):
        with pytest.raises(UserError, match=said):
            check_free(tmp_path, resume, overwrite)


def test_the_files_of_a_run_are_removed_and_no_others(tmp_path: Path) -> None:
    own = ["notes.txt", "my_report.pdf", "figures/test_confusion.png", "data.part"]
    written(tmp_path, *own, *(f"{name}/x" if "." not in name else name for name in CONTENTS))
    written(tmp_path, "test_report.json", "validation_confusion.png", "hpc_ckpt_1.ckpt", "metrics.csv.host-12.part")
    (tmp_path / RECORD).write_text(json.dumps({"status": "completed", "versions": {}}))
    check_free(tmp_path, resume=False, overwrite=True)
    clear(tmp_path)
    assert names(tmp_path) == set(own)


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    kept = ["checkpoints/last.ckpt", "mine.part"]
    written(tmp_path, *kept, "checkpoints/last.ckpt.node-3-77.part", "predictions/test.jsonl.a.b.c-1.part")
    remove_parts(tmp_path)
    assert names(tmp_path) == set(kept)


def test_a_run_folder_has_a_name_and_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/run"):
        with pytest.raises(UserError, match=r"file is a file; expected a folder"):
            run_folder(tmp_path / place)
    assert run_folder(".") == Path()
    monkeypatch.chdir(written(tmp_path / "project", "config.yaml"))
    task = ("TextClassification", "TextClassificationData")
    for command, flags in (("fit", ["--overwrite"]), ("fit", ["--resume"]), ("test", [])):
        args = arguments(command, *task, model__backbone="none", data__dataset="none.csv", run_dir="")
        assert "--run_dir is empty; expected a folder" in refusal([*args, *flags], capsys)
    assert names(tmp_path) == {"file", "project/config.yaml"}
