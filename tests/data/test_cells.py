"""Cells: which texts write a number or a list, and which labels are understood or refused."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftlit.data import MultipleChoiceData, RelationExtractionData, TextClassificationData, TextRegressionData
from ftlit.data.rows.cells import number, whole_number, written
from ftlit.data.shared.summary import data_report, data_text
from ftlit.errors import UserError
from tests.support.data import write_splits

Tiny = Callable[[str], str]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *[("4", 4.0), (" -1.5e-3 ", -0.0015), ("+.5", 0.5), ("2.", 2.0), (3, 3.0), (2.5, 2.5), (Decimal("1.25"), 1.25)],
        *[("4_4", None), ("infinity", None), ("nan", None), ("0x10", None), ("1,5", None), ("٣", None), ("", None)],
        *[(True, None), (None, None), ([1], None)],
    ],
)
def test_numbers_are_those_of_a_csv(given: Any, expected: float | None) -> None:
    assert number(given) == expected
    assert whole_number(given) == (int(expected) if expected is not None and expected.is_integer() else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['joy', 'fear']", ["joy", "fear"]),
        ('["joy", "it\'s"]', ["joy", "it's"]),
        ("['joy' 'fear']", ["joy", "fear"]),  # as NumPy writes them
        *[("[0 1 1]", [0, 1, 1]), ("[1. 0.]", [1.0, 0.0]), ("('a', 'b')", ["a", "b"]), ("[]", []), ("{'a': 1}", {"a": 1})],
        *[("joy", None), ("[joy, fear]", None), ("(none)", None), ("['joy", None), ("", None), ("[" * 9999 + "]", None)],
    ],
)
def test_lists_written_as_text(text: str, expected: Any) -> None:
    assert written(text) == expected


def labelled(tiny: Tiny, folder: Path, values: list[Any], **options: Any) -> TextClassificationData:
    rows = [{"text": f"word{i}", "label": value} for i, value in enumerate(values)]
    made = write_splits(folder, {"train": rows, "validation": rows})
    return TextClassificationData(dataset=made, backbone=tiny("bert"), **options)


def encoded(data: TextClassificationData) -> list[Any]:
    data.setup()
    return data.encoded["train"]["labels"][:]


NAMES = ["joy", "fear", "calm"]


@pytest.mark.parametrize(
    "values",
    [
        [[0, 1, 1], [1, 0, 0], [0, 0, 0]],
        [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[False, True, True], [True, False, False], [False, False, False]],
        [["fear", "calm"], ["joy"], []],
        [[1, 2], [0], []],  # positions
        ["['fear', 'calm']", "['joy']", "[]"],
        ["fear, calm", " joy ", ""],
        ["[0 1 1]", "[1 0 0]", "[0 0 0]"],
        ["0,1,1", "1,0,0", "0,0,0"],
    ],
)
def test_several_labels_are_understood(tiny: Tiny, tmp_path: Path, values: list[Any]) -> None:
    data = labelled(tiny, tmp_path, values * 3, multi_label=True, label_names=NAMES)
    assert encoded(data) == [[0, 1, 1], [1, 0, 0], [0, 0, 0]] * 3
    assert data.record_at("train", 0)["label"] == ["fear", "calm"]
    assert data.balance(data.rows["train"]) == dict.fromkeys(NAMES, 3)
    said = data_text(data_report(data))
    assert all(f"{name} 33.3%" in said for name in NAMES)


def test_two_labels_by_vector(tiny: Tiny, tmp_path: Path) -> None:
    data = labelled(tiny, tmp_path, [[0, 1], [1, 0], [1, 1]] * 3, multi_label=True, label_names=["a", "b"])
    assert encoded(data)[:3] == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0, 1, 1], "a 0 or 1 for each label; name the labels in their order with data.label_names"),
        (["joy", "joy"], "in which the label 'joy' stands twice"),
        (["joy", " joy"], "in which the label 'joy' stands twice"),
        ("joy,joy", "in which the label 'joy' stands twice"),
        ([{"name": "joy"}], "got {'name': 'joy'} (dict)"),
        (["joy", None], "got None (NoneType)"),
        ([0.5, 1.0], "got 0.5 (float)"),
        ("[joy, fear]", "which is neither a list nor names joined by ','"),
        ("{'joy': 1}", "which is neither a list nor names joined by ','"),
        ({"name": "joy"}, "not a list of labels, or their names in one text"),
    ],
)
def test_several_labels_that_are_refused_with_their_row(tiny: Tiny, tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        labelled(tiny, tmp_path, [value] * 9, multi_label=True).setup()
    assert "train row 1: column 'label' holds " in str(error.value)
    assert said in str(error.value)


def test_a_vector_of_another_length_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    values = [[0, 1, 1]] * 5 + [[1, 0]]
    with pytest.raises(
        UserError, match=r"train row 1: .* stands twice; a row of 0 and 1 needs one for each label, in every row"
    ):
        labelled(tiny, tmp_path, values, multi_label=True, label_names=NAMES).setup()


def test_a_label_by_name_and_by_number(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train row 1: label 'joy' stands twice, once by its name, once by its number"):
        labelled(tiny, tmp_path, [["joy", "0"]] * 5, multi_label=True, label_names=NAMES).setup()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "joy"}, "holds {'name': 'joy'} (dict), not a label; it should be a name or a number"),
        ("{'name': 'joy'}", "not a label; it should be a name or a number"),
        ("['joy']", "holds a list; set model.multi_label: true for several labels a text"),
        ("  ", "the label in column 'label' is null"),
    ],
)
def test_one_label_that_is_refused(tiny: Tiny, tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(UserError, match="train row 1: ") as error:
        labelled(tiny, tmp_path, [value] * 5).setup()
    assert said in str(error.value)
    relation = RelationExtractionData(dataset="x", backbone=tiny("bert"), relation="label")
    assert relation.validate_label(value) is not None
    assert relation.validate_label("Cause-Effect(e1,e2)") is relation.validate_label("(none)") is None


def test_labels_that_only_look_odd(tiny: Tiny, tmp_path: Path) -> None:
    data = labelled(tiny, tmp_path, [" pos", "--1", "pos ", "[UNK]", "-1", "2"] * 3)
    assert data.label_names == ["-1", "2", "--1", "[UNK]", "pos"]
    assert encoded(data)[:6] == [4, 2, 4, 3, 0, 1]


@pytest.mark.parametrize("names", [["neg", "pos", "neg"], ["neg", " neg"], ["neg", ""]])
def test_label_names_stand_once(tiny: Tiny, tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"data.label_names (has|lists) "):
        TextClassificationData(dataset="x", backbone=tiny("bert"), label_names=names)
    listed = tmp_path / "labels.txt"
    listed.write_text("neg\npos\nneg\n")
    with pytest.raises(UserError, match="lists 'neg' twice"):
        _ = TextClassificationData(dataset="x", backbone=tiny("bert"), label_names=str(listed)).label_names


def test_numbers_of_regression(tiny: Tiny) -> None:
    data = TextRegressionData(dataset="x", backbone=tiny("bert"))
    assert data.validate_label("4_4") == "column 'label' holds '4_4', not a number"
    assert [data.validate_label(value) for value in ("4.4", 4, " 1e-3 ")] == [None] * 3
    assert None not in [data.validate_label(value) for value in ("inf", float("nan"), True, None, "1e999", [1.0])]


@pytest.mark.parametrize(
    ("names", "label", "position"),
    [
        *[(["1", "2", "3"], 1, 0), (["1", "2", "3"], "3", 2), (["1", "2", "3"], 0, None), ([1, 2, 3], 0, None)],
        *[(["A", "B", "C"], 0, 0), (["A", "B", "C"], "b", 1), (["B", "C", "D"], "A", None), (["A", "A", "C"], "A", None)],
        (["a", "A", "c"], "A", 1),
    ],
)
def test_choices_with_names_are_named(tiny: Tiny, names: list[Any], label: Any, position: int | None) -> None:
    data = MultipleChoiceData(dataset="x", backbone=tiny("bert"))
    row = {"question": "word1", "choices": {"label": names, "text": ["word2", "word3", "word4"]}, "label": label}
    assert data.position(row) == position
    if label == 0 and position is None:
        assert "expected a name, which are 1, 2, 3" in str(data.validate_row(row))


def test_ids_that_do_not_tell_rows_apart_are_not_used(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"id": name, "text": f"word{i}", "label": i % 2} for i, name in enumerate(["a", "a", None, "b"] * 5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = TextClassificationData(dataset=str(tmp_path / "train.jsonl"), backbone=tiny("bert"))
    ids = [*data.rows["train"]["row_id"], *data.rows["validation"]["row_id"]]
    assert sorted(ids) == sorted(f"train:{i}" for i in range(20))
    assert data.rows.place_of("train:3") == "train row 4"
