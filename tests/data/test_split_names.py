"""Files of a folder are splits by their usual names; a file that may be train or validation is never left out silently."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from ftlit.data import TextClassificationData
from ftlit.data.sources.load import load_splits
from ftlit.data.sources.split_names import splits_by_name
from ftlit.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def folder_of(folder: Path, *names: str) -> str:
    """A folder with one row in each file, which is the name of the file."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f'{{"text": "{name}"}}\n' if name.endswith("l") else f"text\n{name}\n")
    return str(folder)


def read(dataset: str, **options: Any) -> dict[str, list[str]]:
    return {split: rows["text"][:] for split, rows in load_splits(dataset, **options).items()}


@pytest.mark.parametrize(
    "name", ["eval", "dev", "valid", "val", "validation", "Dev", "devel", "validation_matched", "dev-v2.0", "en_ewt-ud-dev"]
)
def test_usual_names_mean_validation(tmp_path: Path, name: str) -> None:
    found = read(folder_of(tmp_path, "train.jsonl", f"{name}.jsonl"))
    assert found == {"train": ["train.jsonl"], "validation": [f"{name}.jsonl"]}


@pytest.mark.parametrize("name", ["holdout.jsonl", "holdout.csv", "train_dev.jsonl", "dev.jsonl.gz", "dev.arrow"])
def test_other_files_are_named_and_refused(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, "train.jsonl", name)
    with pytest.raises(UserError, match=re.escape(name.removesuffix(".gz").partition(".")[0])):
        load_splits(folder)
    assert read(folder, splits={"validation": None}) == {"train": ["train.jsonl"]}


def test_the_remedies_of_a_file_without_a_split(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.jsonl", "holdout.jsonl")
    with pytest.raises(UserError, match=r"has 'holdout', which names no split; .* such as \{validation: holdout\}, or leave"):
        load_splits(folder)
    assert read(folder, splits={"validation": "holdout"}) == {"train": ["train.jsonl"], "validation": ["holdout.jsonl"]}
    folder_of(tmp_path, "dev.jsonl")
    assert read(folder) == {"train": ["train.jsonl"], "validation": ["dev.jsonl"]}, "train and validation are settled"


def test_what_holds_no_rows_may_lie_in_the_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.csv", "labels.txt", "dataset_info.json", "README.md", ".train.csv", "_notes.csv")
    assert read(folder) == {"train": ["train.csv"]}
    (tmp_path / "texts").mkdir()
    text = folder_of(tmp_path / "texts", "train.txt", "LICENSE.txt")
    assert list(load_splits(text)) == ["train"]
    folder_of(tmp_path / "texts", "chapter.txt")
    with pytest.raises(UserError, match="has 'chapter', which names no split"):
        load_splits(text)


def test_two_files_of_one_split_are_to_be_told_apart(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.jsonl", "validation_matched.jsonl", "validation_mismatched.jsonl")
    with pytest.raises(UserError, match="has validation_matched and validation_mismatched: name one as"):
        load_splits(folder)
    assert read(folder, splits={"validation": "validation_matched"})["validation"] == ["validation_matched.jsonl"]
    assert splits_by_name(["train", "dev", "zh.train", "dev_mismatched"]) == {
        "train": ["train"],
        "validation": ["dev"],
        "test": [],
    }


def test_a_name_that_the_config_gives_to_a_split_means_no_other(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.jsonl", "dev_a.jsonl", "dev_b.jsonl")
    found = read(folder, splits={"test": "dev_b"})
    assert found == {"train": ["train.jsonl"], "validation": ["dev_a.jsonl"], "test": ["dev_b.jsonl"]}


def test_what_is_not_used_is_said(tiny: Callable[[str], str], tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.jsonl", "dev.jsonl", "zh.train.jsonl", "holdout.jsonl")
    rows = TextClassificationData(dataset=folder, backbone=tiny("bert")).rows
    assert rows.description == f"{folder} (not used of it: holdout, zh.train)"
    (tmp_path / "holdout.jsonl").unlink()
    (tmp_path / "zh.train.jsonl").unlink()
    assert TextClassificationData(dataset=folder, backbone=tiny("bert")).rows.description == folder


def test_splits_of_functions_and_saved_folders_are_not_left_out_either(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"text": "a"}])
    datasets.DatasetDict({"train": rows, "holdout": rows}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="has 'holdout', which names no split"):
        load_splits(str(tmp_path / "saved"))


def test_shards_are_one_split(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train-00001-of-00002.csv", "train-00000-of-00002.csv", "test.csv")
    assert read(folder)["train"] == ["train-00000-of-00002.csv", "train-00001-of-00002.csv"]
    (tmp_path / "train-00001-of-00002.csv").unlink()
    with pytest.raises(UserError, match=r"has 1 of the 2 parts of which train-00000-of-00002.csv is one"):
        load_splits(folder)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.csv")
    (tmp_path / "dev.csv.gz").write_bytes(gzip.compress(b"text\na\n"))
    with pytest.raises(UserError, match=r"dev.csv.gz cannot be read, since it ends in none of .csv, .* unpack or convert it"):
        load_splits(folder)
    (tmp_path / "dev.csv.gz").unlink()
    (tmp_path / "dev.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"dev.csv is a link to a file that does not exist"):
        load_splits(folder)
    with pytest.raises(UserError, match=r"is a link to something that does not exist"):
        load_splits(str(tmp_path / "dev.csv"))


@pytest.mark.parametrize("test", ["text\nword1\nword2\n", "text,label\nword1,\nword2,\n", "text,label\nword1,-1\nword2,-1\n"])
def test_a_test_file_without_labels(tiny: Callable[[str], str], tmp_path: Path, test: str) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "word1,a\nword2,b\n" * 10)
    (tmp_path / "test.csv").write_text(test)
    made = {"dataset": str(tmp_path), "backbone": tiny("bert")}
    with pytest.raises(UserError, match=r"If test has no right answers, leave it out with data.splits: \{test: null\}$"):
        TextClassificationData(**made).setup()
    data = TextClassificationData(**made, splits={"test": None})
    data.setup()
    assert sorted(data.rows) == ["train", "validation"]
