"""Questions with choices: every shape of row, the label that each gives, and which rows are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.data import MultipleChoiceData
from ftlit.data.shared.summary import data_report
from tests.support.data import REAL_DATA, choice_rows, write_splits

Tiny = Callable[[str], str]
ROW = {"question": "word1 word2", "choices": ["word3", "word4 word5", "word6"], "label": 1}
NAMED = {"label": ["A", "B", "C"], "text": ROW["choices"]}
SWAG = {"sent1": "word1", "sent2": "word2", **{f"ending{i}": f"word{i + 3}" for i in range(4)}, "label": 3}
SWAG_KEYS = {"question": "sent1", "start": "sent2", "choices": [f"ending{i}" for i in range(4)]}
PIQA = {"goal": "word1", "sol1": "word2 word3", "sol2": "word4", "label": 1}
PIQA_KEYS = {"question": "goal", "choices": ["sol1", "sol2"]}


def data_of(tiny: Tiny, dataset: str = "x", **options: Any) -> MultipleChoiceData:
    return MultipleChoiceData(dataset=dataset, backbone=tiny("bert"), **options)


def texts_of(data: MultipleChoiceData, row: dict[str, Any]) -> list[str]:
    features = data.encode({name: [value] for name, value in row.items()})
    return [" ".join(data.tokenizer.convert_ids_to_tokens(ids)) for ids in features["input_ids"][0]]


@pytest.mark.parametrize("choices", [ROW["choices"], NAMED])
def test_a_list_of_choices(choices: Any, tiny: Tiny) -> None:
    ends = ("word3", "word4 word5", "word6")
    expected = [f"[CLS] word1 word2 [SEP] {end} [SEP]" for end in ends]
    assert texts_of(data_of(tiny), {**ROW, "choices": choices}) == expected


def test_choices_in_columns_that_go_on_from_a_start(tiny: Tiny) -> None:
    data = data_of(tiny, **SWAG_KEYS)
    assert texts_of(data, SWAG) == [f"[CLS] word1 [SEP] word2 word{i} [SEP]" for i in (3, 4, 5, 6)]
    assert data.columns() == {
        **{"question": "sent1", "start": "sent2"},
        **{f"choices[{i}]": f"ending{i}" for i in range(4)},
        "label": "label",
    }
    assert (data.reference(SWAG), data.validate_row(SWAG)) == ("word6", None)


def test_two_solutions(tiny: Tiny) -> None:
    data = data_of(tiny, **PIQA_KEYS)
    assert texts_of(data, PIQA) == ["[CLS] word1 [SEP] word2 word3 [SEP]", "[CLS] word1 [SEP] word4 [SEP]"]
    assert data.reference(PIQA) == "word4"


@pytest.mark.parametrize(
    ("label", "choices", "position"),
    [
        *[(1, ROW["choices"], 1), ("1", ROW["choices"], 1), (2.0, ROW["choices"], 2), (0, ROW["choices"], 0)],
        *[("A", ROW["choices"], 0), ("c", ROW["choices"], 2), ("B", NAMED, 1), (1, NAMED, 1)],
        *[("1", {**NAMED, "label": ["1", "2", "3"]}, 0), ("3", {**NAMED, "label": ["1", "2", "3"]}, 2)],
        *[(-1, ROW["choices"], None), (3, ROW["choices"], None), ("D", ROW["choices"], None), ("", NAMED, None)],
        *[(None, ROW["choices"], None), ("AB", ROW["choices"], None), ("?", ROW["choices"], None)],
    ],
)
def test_labels(label: Any, choices: Any, position: int | None, tiny: Tiny) -> None:
    data, row = data_of(tiny, label="answerKey"), {"question": "word1", "choices": choices, "answerKey": label}
    assert data.position(row) == position
    known = "a position from 0 to 2, or a letter from A to C"
    said = f"column 'answerKey' holds {label!r}, which names none of the 3 choices; expected {known}"
    assert data.validate_row(row) == (said if position is None else None)


BAD = [
    ({"question": ""}, "the text in column 'question' is empty"),
    ({"choices": ["word1"]}, "column 'choices' has 1 choices; there must be two or more"),
    ({"choices": None}, "column 'choices' has 0 choices; there must be two or more"),
    ({"choices": {"label": [], "text": []}}, "column 'choices' has 0 choices"),
    ({"choices": ["word1", None]}, "choice 2 is None, not a text"),
    ({"choices": [" ", "word1"]}, "choice 1 is ' ', not a text"),
    ({"choices": "word1"}, "column 'choices' holds 'word1', not a list of texts"),
    ({"choices": 7}, "column 'choices' holds 7, not a list of texts"),
    ({"choices": {"label": ["A", "B", "C"], "text": "yes"}}, "column 'choices' holds 'yes', not a list of texts"),
    ({"choices": {"label": "ABC", "text": ROW["choices"]}}, "column 'choices' holds 'ABC', not a list of names"),
    ({"choices": {"label": list("ABCD"), "text": ROW["choices"]}, "label": "D"}, "'choices' has 4 names for 3 choices"),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_rows(changes: dict[str, Any], said: str, tiny: Tiny) -> None:
    assert data_of(tiny).validate_row(ROW) is None
    assert said in (data_of(tiny).validate_row({**ROW, **changes}) or "")


def test_what_changes_the_features_changes_the_key_of_the_cache(tiny: Tiny) -> None:
    changes: list[dict[str, Any]] = [
        *({}, {"max_length": 9}, {"question": "goal"}, {"start": "sent2"}, {"choices": "ends"}, {"label": "answerKey"}),
        *({"choices": ["a", "b"]}, {"choices": ["b", "a"]}),
    ]
    keys = [str(data_of(tiny, **change).encoding_settings()) for change in changes]
    assert len(set(keys)) == len(changes)
    assert str(data_of(tiny, order_seed=3).encoding_settings()) == keys[0]


def test_a_missing_column_of_one_choice(tiny: Tiny) -> None:
    assert (
        data_of(tiny, **PIQA_KEYS).validate_row({"goal": "word1", "sol1": "word2", "label": 0})
        == "choice 2 is None, not a text"
    )
    assert "'start_of_all' is" in (data_of(tiny, start="start_of_all").validate_row({**ROW, "start_of_all": ""}) or "")


def test_batches_hold_the_choices_of_all_rows_and_no_other(tiny: Tiny, questions: str) -> None:
    data = data_of(tiny, questions)
    data.setup()
    rows = data.encoded["train"][:5]
    batch = data.collate(rows)
    counts = [len(choices) for choices in rows["choices"]]
    assert len(set(counts)) > 1
    assert batch["metadata"] == {"choices": rows["choices"]}
    sequences = [ids for row in rows["input_ids"] for ids in row]
    assert batch["input_ids"].shape == (sum(counts), max(map(len, sequences)))
    assert [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ] == sequences
    assert batch["token_type_ids"].shape == batch["input_ids"].shape
    assert (batch["tokens"], batch["labels"].tolist()) == (sum(map(len, sequences)), rows["labels"])


def test_the_length_of_a_row_is_what_its_choices_take(tiny: Tiny, questions: str) -> None:
    data = data_of(tiny, questions)
    data.setup()
    rows = data.encoded["validation"]["input_ids"][:]
    assert data.lengths("validation").tolist() == [len(row) * max(map(len, row)) for row in rows]


def test_truncated_rows_are_counted(tiny: Tiny, tmp_path: Path) -> None:
    long = {**ROW, "choices": ["word3", " ".join(["word4"] * 9)]}
    data = data_of(tiny, write_splits(tmp_path / "d", {"train": [ROW, long, long, ROW], "validation": [ROW]}), max_length=8)
    data.setup()
    assert data.encoded["train"]["truncated"][:] == [False, True, True, False]
    assert data_report(data)["splits"]["train"]["truncated"] == 0.5
    assert max(len(ids) for row in data.encoded["train"]["input_ids"] for ids in row) == 8


def test_choices_with_names_come_from_files(tiny: Tiny, tmp_path: Path) -> None:
    rows = [
        {**row, "choices": {"label": list("ABCDE")[: len(row["choices"])], "text": row["choices"]}} for row in choice_rows(9, 0)
    ]
    keyed = [{**row, "answerKey": "ABCDE"[row["label"]]} for row in rows]
    data = data_of(tiny, write_splits(tmp_path / "d", {"train": keyed}), label="answerKey")
    data.setup()
    found = [label for split in ("train", "validation") for label in data.encoded[split]["labels"]]
    assert sorted(found) == sorted(row["label"] for row in rows)


@pytest.mark.slow
@pytest.mark.real_data
def test_commonsense_qa(tiny: Tiny) -> None:
    data = data_of(tiny, str(REAL_DATA / "commonsense_qa"), max_length=64)
    data.setup()
    assert {split: len(rows) for split, rows in data.encoded.items()} == {"train": 9741, "validation": 1221}
    assert {len(row) for row in data.encoded["validation"]["input_ids"]} == {5}
    assert set(data.encoded["train"]["labels"]) == set(range(5))
