"""Markers around entities: where they stand, what truncation leaves, and which rows are refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ftlit.data import RelationExtractionData
from ftlit.data.relation_extraction import ENTITY_MARKERS, marked
from ftlit.errors import UserError
from tests.support.data import REAL_DATA, RELATIONS, relation_rows, write_splits
from tests.support.models import tiny_tokenizer

Tiny = Callable[[str], str]
TEXT = "word1 word2 word3 word4 word5 word6"


def span(text: str, words: str) -> dict[str, Any]:
    return {"start": text.index(words), "end": text.index(words) + len(words)}


def row(**changes: Any) -> dict[str, Any]:
    plain = {"text": TEXT, "head": span(TEXT, "word2"), "tail": span(TEXT, "word5"), "relation": "Other"}
    return {**plain, **changes}


def data_of(tiny: Tiny, dataset: str = "x", **options: Any) -> RelationExtractionData:
    return RelationExtractionData(dataset=dataset, backbone=options.pop("backbone", tiny("bert")), **options)


@pytest.mark.parametrize(
    ("text", "head", "tail", "expected"),
    [
        ("The student association met.", "student", "association", "The[E1] student[/E1][E2] association[/E2] met."),
        ("The student association met.", "association", "The", "[E2]The[/E2] student[E1] association[/E1] met."),
        ("a (b)-c", "b", "c", "a ([E1]b[/E1])-[E2]c[/E2]"),
        ("New York  is", "New York", "is", "[E1]New York[/E1][E2]  is[/E2]"),
        ("newborn", "new", "born", "[E1]new[/E1][E2]born[/E2]"),
    ],
)
def test_markers_stand_around_the_entities(text: str, head: str, tail: str, expected: str) -> None:
    assert marked(text, span(text, head), span(text, tail)) == expected


def test_the_features_of_a_row(tiny: Tiny) -> None:
    data = data_of(tiny)
    given = {"text": [TEXT], "head": [span(TEXT, "word5")], "tail": [span(TEXT, "word2")]}
    found = data.encode_inputs(given)
    words = data.tokenizer.convert_ids_to_tokens(found["input_ids"][0])
    assert " ".join(words) == "[CLS] word1 [E2] word2 [/E2] word3 word4 [E1] word5 [/E1] word6 [SEP]"
    assert found["entity_positions"] == [[7, 2]]
    assert found["truncated"] == [False]
    batch = data.collate(found)
    assert batch["entity_positions"].tolist() == [[7, 2]]
    assert data.added_tokens == [100, 101, 102, 103]


def byte_level(corpus: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="a", unk_token="b")


def test_words_keep_their_tokens_where_the_space_is_part_of_them(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("roberta"), tmp_path / "m")
    rows = relation_rows(20, 0)
    byte_level([row["text"] for row in rows]).save_pretrained(tmp_path / "m")
    data = data_of(tiny, backbone=str(tmp_path / "m"))
    found = data.encode_inputs({name: [row[name] for row in rows] for name in ("text", "head", "tail")})["input_ids"]
    plain = data.tokenizer([row["text"] for row in rows])["input_ids"]
    assert [[i for i in ids if i not in data.marker_ids] for ids in found] == plain
    assert all(len(ids) == len(other) + 4 for ids, other in zip(found, plain, strict=True))


def test_markers_that_the_backbone_knows_are_not_added(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "m")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(list(ENTITY_MARKERS[:2]))
    tokenizer.save_pretrained(tmp_path / "m")
    data = data_of(tiny, backbone=str(tmp_path / "m"))
    assert (data.added_tokens, data.marker_ids) == ([102, 103], [100, 101, 102, 103])


@pytest.mark.parametrize(
    ("head", "tail", "kept"),
    [
        ("word2", "word4", range(1, 7)),
        ("word28", "word30", range(25, 31)),
        ("word15", "word17", range(14, 20)),
        ("word20", "word18", range(17, 23)),
    ],
)
def test_a_long_text_is_cut_around_its_entities(head: str, tail: str, kept: range, tiny: Tiny) -> None:
    text = " ".join(f"word{i}" for i in range(1, 31))
    data = data_of(tiny, max_length=12)
    found = data.encode_inputs({"text": [text], "head": [span(text, head)], "tail": [span(text, tail)]})
    words = data.tokenizer.convert_ids_to_tokens(found["input_ids"][0])
    assert [word for word in words if word not in ENTITY_MARKERS] == ["[CLS]", *(f"word{i}" for i in kept), "[SEP]"]
    assert [words[i : i + 2] for i in found["entity_positions"][0]] == [["[E1]", head], ["[E2]", tail]]
    assert {len(found[name][0]) for name in ("input_ids", "token_type_ids")} == {12}
    assert found["truncated"] == [True]


BAD = [
    ({"text": " "}, "the text in column 'text' is empty"),
    ({"head": None}, "column 'head' holds None, not an entity with the whole numbers 'start' and 'end'"),
    ({"head": {"start": 1.5, "end": 3}}, "column 'head' holds {'start': 1.5, 'end': 3}, not an entity"),
    ({"tail": {"start": 3}}, "column 'tail' holds {'start': 3}, not an entity"),
    ({"tail": {"start": -1, "end": 3}}, "'tail' is at characters -1 to 3, outside the text of 35 characters"),
    ({"head": {"start": 30, "end": 36}}, "'head' is at characters 30 to 36, outside the text of 35 characters"),
    ({"head": {"start": 3, "end": 3}}, "the entity in column 'head' is empty: at characters 3 to 3"),
    ({"head": {"start": 5, "end": 6}}, "the entity in column 'head' is empty: at characters 5 to 6"),
    ({"head": {"start": 0, "end": 5, "text": "word9"}}, "is 'word9', but the text at characters 0 to 5 is 'word1'"),
    ({"head": {"start": 20, "end": 26}}, "overlap: 'head' is at characters 20 to 26 and 'tail' at characters 24 to 29"),
    ({"text": "[E1] " + TEXT}, "the text in column 'text' holds '[E1]', which marks entities"),
    ({"relation": None}, "the label in column 'relation' is null"),
    ({"relation": ["Other"]}, "column 'relation' holds a list, not one label"),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_rows(changes: dict[str, Any], said: str, tiny: Tiny) -> None:
    data = data_of(tiny)
    assert data.validate_row(row()) is None
    assert data.validate_row(row(head={**row()["head"], "text": "word2"})) is None
    assert said in (data.validate_row(row(**changes)) or "")


def test_entities_too_far_apart(tiny: Tiny) -> None:
    fitting, short = data_of(tiny, max_length=10), data_of(tiny, max_length=9)
    assert fitting.validate_row(row()) is None
    assert short.validate_row(row()) == (
        "the entities and what lies between them have 8 tokens, but 7 fit into data.max_length 9; raise it"
    )


def test_a_relation_that_train_lacks(tiny: Tiny, tmp_path: Path) -> None:
    rows = relation_rows(12, 0)
    folder = write_splits(tmp_path / "d", {"train": rows, "validation": [*rows[:6], row(relation="Part-Whole")]})
    with pytest.raises(UserError, match="validation row 7: label 'Part-Whole' is never seen in train; the labels are Cause"):
        data_of(tiny, folder).setup()
    one = write_splits(tmp_path / "e", {"train": rows, "validation": [row()]})
    with pytest.raises(UserError, match=r"has the label 'Other' alone in its 1 rows; .*check data\.relation"):
        data_of(tiny, one).setup()


def test_labels_and_references(tiny: Tiny, relations: str) -> None:
    data = data_of(tiny, relations)
    data.setup()
    assert data.label_names == sorted(RELATIONS)
    encoded, rows = data.encoded["train"], data.rows["train"]
    assert encoded["reference"][:] == rows["relation"][:]
    assert [data.label_names[i] for i in encoded["labels"]] == rows["relation"][:]
    assert sum(data.label_counts[:-1]) == data.label_counts[-1] == 60
    assert data.lengths("train").tolist() == [len(text.split()) + 6 for text in rows["text"]]


@pytest.mark.slow
@pytest.mark.real_data
def test_semeval(tiny: Tiny) -> None:
    folder = REAL_DATA / "semeval2010_task8"
    data = data_of(tiny, str(folder), label_names=str(folder / "labels.txt"), max_length=64)
    data.setup()
    assert {split: len(rows) for split, rows in data.rows.items()} == {"train": 7200, "validation": 800, "test": 2717}
    assert len(data.label_names) == 19
    assert all(len(set(places)) == 2 for places in data.encoded["test"]["entity_positions"])
    assert max(data.lengths("train")) <= 64
