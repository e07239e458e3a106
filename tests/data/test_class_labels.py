"""A number of class labels means what its own split says, not what train would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from ftlit.data import TextClassificationData, TokenClassificationData
from ftlit.data.shared.base import TaskData

NAMES = {"train": ["a", "b", "c"], "validation": ["a", "b", "c"], "test": ["a", "c"]}
ROWS = [("word1", "a"), ("word2", "c"), ("word3", "c"), ("word4", "a")]


def saved(folder: Path, column: str, feature: Callable[[list[str]], Any], value: Callable[[str], Any]) -> str:
    """Splits with labels by number, each under its own list; the rows of test stand in all."""
    splits = {}
    for split, names in NAMES.items():
        rows = [*ROWS, ("word5", "b"), ("word6", "b")][: 4 if split == "test" else 6]
        texts = [[text] if column == "tags" else text for text, _ in rows]
        word = datasets.Value("string")
        key, kind = ("tokens", datasets.List(word)) if column == "tags" else ("text", word)
        features = datasets.Features({key: kind, column: feature(names)})
        columns = {key: texts, column: [value(name) for _, name in rows]}
        splits[split] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(splits).save_to_disk(folder)
    return str(folder)


def references(data: TaskData, split: str) -> list[Any]:
    return [data.record_at(split, i)["label"] for i in range(4)]


@pytest.mark.parametrize("multi", [False, True])
def test_labels(multi: bool, tiny: Callable[[str], str], tmp_path: Path) -> None:
    def feature(names: list[str]) -> Any:
        return datasets.List(datasets.ClassLabel(names=names)) if multi else datasets.ClassLabel(names=names)

    folder = saved(tmp_path / "d", "label", feature, lambda name: [name] if multi else name)
    data = TextClassificationData(dataset=folder, backbone=tiny("bert"), multi_label=multi)
    assert data.label_names == ["a", "b", "c"]
    expected = [[name] if multi else name for _, name in ROWS]
    assert references(data, "train") == references(data, "test") == expected
    data.setup()
    assert data.encoded["train"][:4]["labels"] == data.encoded["test"][:]["labels"]


def test_tags(tiny: Callable[[str], str], tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", "tags", lambda names: datasets.List(datasets.ClassLabel(names=names)), lambda name: [name])
    data = TokenClassificationData(dataset=folder, backbone=tiny("bert"), spans=False)
    assert references(data, "train") == references(data, "test") == [[name] for _, name in ROWS]
