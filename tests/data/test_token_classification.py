"""Words, tags and windows of token classification, from every kind of source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ftlit.data import TokenClassificationData
from ftlit.data.text.word_encoder import WordEncoder
from ftlit.errors import UserError
from ftlit.metrics.entities import located_words
from ftlit.util.batch import IGNORED
from tests.support.data import write_splits
from tests.support.tagged import LETTERS, letters_model, letters_tokenizer, tagged_rows, tagged_splits, write_conll

Make = Callable[..., TokenClassificationData]
ROW = {"tokens": ["ab", "cd", "d", "b"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]}


@pytest.fixture(scope="module")
def backbone(tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return letters_model(tiny("bert"), tmp_path_factory.mktemp("letters") / "model")


@pytest.fixture
def make(backbone: str, tmp_path: Path) -> Make:
    """A data module over rows of train and validation."""

    def build(train: list[dict[str, Any]], validation: list[dict[str, Any]] | None = None, **options: Any) -> Any:
        folder = write_splits(tmp_path / "data", {"train": train, "validation": validation or train})
        return TokenClassificationData(**{"dataset": folder, "backbone": backbone, **options})

    return build


def ready(data: TokenClassificationData) -> TokenClassificationData:
    data.setup()
    return data


def labels_of(data: TokenClassificationData, i: int = 0, split: str = "train") -> list[str]:
    """The labels of a feature's tokens by name, `-` where there is none."""
    return ["-" if label == IGNORED else data.label_names[label] for label in data.encoded[split][i]["labels"]]


@pytest.mark.parametrize(
    ("align", "expected"),
    [
        ("first", ["-", "B-PER", "-", "I-PER", "-", "O", "B-LOC", "-"]),
        ("all", ["-", "B-PER", "I-PER", "I-PER", "I-PER", "O", "B-LOC", "-"]),
    ],
)
def test_labels_stand_on_subwords(make: Make, align: str, expected: list[str]) -> None:
    data = ready(make([ROW], align=align))
    assert data.label_names == ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
    assert labels_of(data) == expected
    feature = data.encoded["train"][0]
    assert data.tokenizer.convert_ids_to_tokens(feature["input_ids"])[1:5] == ["a", "##b", "c", "##d"]
    assert feature["loss_weights"] == len(expected) - expected.count("-")
    assert data.counts("train") == {"words": 4, "entities": 2}


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB1", ["I-PER", "I-PER", "B-PER", "I-LOC", "O"]),
        ("IOB2", ["B-PER", "I-PER", "B-PER", "B-LOC", "O"]),
        ("BIOES", ["B-PER", "E-PER", "S-PER", "S-LOC", "O"]),
    ],
)
def test_schemes_give_the_same_labels(make: Make, scheme: str, tags: list[str]) -> None:
    data = ready(make([{"tokens": list("acabd"), "tags": tags}], scheme=scheme))
    assert labels_of(data)[1:-1] == ["B-PER", "I-PER", "B-PER", "B-LOC", "O"]
    assert data.record_at("train", 0)["label"] == [
        {"label": "PER", "start": 0, "end": 3, "text": "a c"},
        {"label": "PER", "start": 4, "end": 5, "text": "a"},
        {"label": "LOC", "start": 6, "end": 7, "text": "b"},
    ]


def test_sources_agree(make: Make, tmp_path: Path) -> None:
    splits = tagged_splits()
    folder = tmp_path / "conll"
    folder.mkdir()
    for split, rows in splits.items():
        write_conll(folder / f"{split}.txt", rows)
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    numbered = {
        split: [{"tokens": row["tokens"], "tags": [names.index(tag) for tag in row["tags"]]} for row in rows]
        for split, rows in splits.items()
    }
    classes = datasets.Sequence(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "tags": classes})
    saved = {split: datasets.Dataset.from_list(rows, features=features) for split, rows in numbered.items()}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "saved")
    texts = {split: [as_text(row) for row in rows] for split, rows in splits.items()}
    found = [
        make(splits["train"], dataset=str(folder)),
        make(splits["train"], dataset=str(tmp_path / "saved")),
        make(splits["train"], dataset=write_splits(tmp_path / "numbers", numbered), label_names=names),
        make(splits["train"], dataset=write_splits(tmp_path / "texts", texts), entities="entities"),
    ]
    for data in map(ready, found):
        assert data.label_names == ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
        for split, rows in splits.items():
            assert data.encoded[split]["reference"] == [row["tags"] for row in rows]
            assert data.encoded[split]["labels"] == found[0].encoded[split]["labels"]


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """A tagged row as a text with entities."""
    text, offsets = located_words(row["tokens"])
    entities: list[dict[str, Any]] = []
    for tag, (start, end) in zip(row["tags"], offsets, strict=True):
        if tag.startswith("B-"):
            entities.append({"start": start, "end": end, "label": tag[2:]})
        elif tag != "O":
            entities[-1]["end"] = end
    return {"text": text, "entities": entities}


def test_entities_inside_words_are_widened_and_counted(make: Make) -> None:
    text = "ab, cde abc."
    entities = [{"start": 1, "end": 6, "label": "X"}, {"start": 7, "end": 12, "label": "Y"}]
    data = ready(make([{"text": text, "entities": entities}, {"text": "d", "entities": []}], entities="entities"))
    assert data.encoded["train"][0]["reference"] == ["B-X", "I-X", "I-X", "B-Y", "I-Y"]
    assert data.counts("train")["entities widened to words"] == 1, "white space at an edge is not part of an entity"
    assert data.record_at("train", 0)["label"][0] == {"label": "X", "start": 0, "end": 7, "text": "ab, cde"}


def test_entities_may_come_as_a_dictionary_of_lists(make: Make) -> None:
    entities = {"start": [0, 6], "end": [2, 8], "label": ["X", "Y"]}  # as `datasets` holds a sequence of dictionaries
    data = ready(make([{"text": "ab c, de", "entities": entities}], entities="entities"))
    assert data.encoded["train"][0]["reference"] == ["B-X", "O", "O", "B-Y"]


def test_plain_tags(make: Make) -> None:
    rows = [{"tokens": ["ab", "c"], "tags": ["NOUN", "ADJ-X"]}, {"tokens": ["d"], "tags": ["O"]}]
    data = ready(make(rows, spans=False, align="all"))
    assert data.label_names == ["O", "ADJ-X", "NOUN"]
    assert labels_of(data) == ["-", "NOUN", "NOUN", "ADJ-X", "-"]
    assert data.record_at("train", 0)["label"] == ["NOUN", "ADJ-X"]
    assert data.label_counts == [1, 1, 1, 3]
    assert ready(make(rows, spans=False, label_names=["NOUN", "O", "ADJ-X"])).label_names == ["NOUN", "O", "ADJ-X"]


def test_what_changes_the_features_changes_the_key_of_the_cache(make: Make) -> None:
    given = {
        **ROW,
        "others": ROW["tags"],
        "words": ROW["tokens"],
        "text": "ab",
        "marks": [{"start": 0, "end": 2, "label": "X"}],
    }
    names = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]  # the same labels as spans and as tags
    changes: list[dict[str, Any]] = [
        *({}, {"spans": False}, {"align": "all"}, {"stride": 1}, {"max_length": 20, "stride": 16}, {"scheme": "IOB1"}),
        *({"tags": "others"}, {"tokens": "words"}, {"entities": "marks"}),
        {"label_names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-X"]},
        *({"label_names": names}, {"label_names": names, "spans": False}),
    ]
    keys = [str(make([given], **change).encoding_settings()) for change in changes]
    assert len(set(keys)) == len(changes)
    assert str(make([given], order_seed=3).encoding_settings()) == keys[0]


def test_the_same_names_as_spans_and_as_tags_are_cached_apart(make: Make) -> None:
    names = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
    folder = make([ROW]).dataset
    found = [
        labels_of(ready(make([ROW], dataset=folder, spans=spans, align="all", label_names=names))) for spans in (True, False)
    ]
    assert found[0] == ["-", "B-PER", "I-PER", "I-PER", "I-PER", "O", "B-LOC", "-"]
    assert found[1] == ["-", "B-PER", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "-"]


def test_counts_of_labels_and_rows(make: Make) -> None:
    data = make([ROW, {"tokens": ["d", "a"], "tags": ["O", "B-PER"]}, {"tokens": ["d"], "tags": ["O"]}])
    assert data.label_counts == [3, 1, 2, 0, 1, 7]
    assert data.balance(data.rows["train"]) == {"PER": 2, "LOC": 1}
    assert data.classes(data.rows["train"]) == ["LOC", "PER", ""]


# Windows


@pytest.mark.parametrize("stride", [0, 4, None])
def test_no_word_is_lost_in_windows(make: Make, stride: int | None) -> None:
    rows = tagged_rows(60, 5)
    data = ready(make(rows, max_length=12, stride=stride))
    encoded = data.encoded["train"]
    assert len(encoded) > len(rows)
    assert max(map(len, encoded["input_ids"])) <= 12
    tags: dict[int, list[str]] = {}
    for row, feature in zip(encoded["row"], encoded, strict=True):
        tags.setdefault(row, []).extend(feature["reference"])
        words = [data.tokenizer.decode(feature["input_ids"][a : a + n]) for a, n in owned(feature)]
        assert [word.replace(" ", "").replace("##", "") for word in words] == feature["piece"].split()
    assert [tags[i] for i in range(len(rows))] == [row["tags"] for row in rows]
    assert sum(encoded["loss_weights"]) == data.counts("train")["words"] == sum(len(row["tags"]) for row in rows)


def owned(feature: dict[str, Any]) -> list[tuple[int, int]]:
    return list(zip(feature["starts"], feature["widths"], strict=True))


def test_a_word_longer_than_a_window_is_cut_and_counted(make: Make) -> None:
    data = ready(make([{"tokens": ["a", LETTERS, "b"], "tags": ["B-PER", "I-PER", "O"]}], max_length=10, align="all"))
    assert data.counts("train")["words cut at data.max_length"] == 1
    assert [word for feature in data.encoded["train"] for word in feature["reference"]] == ["B-PER", "I-PER", "O"]
    assert sum(data.encoded["train"]["loss_weights"]) == 1 + 8 + 1


def test_windows_may_not_share_all(make: Make) -> None:
    with pytest.raises(UserError, match=r"data.stride is 10, but a window of data.max_length 12 holds 10 tokens"):
        make([ROW], max_length=12, stride=10).setup()


def test_a_batch_pads_labels(make: Make) -> None:
    data = ready(make([ROW, {"tokens": ["a"], "tags": ["O"]}]))
    batch = data.collate(data.encoded["train"][:2])
    assert batch["labels"].shape == batch["input_ids"].shape
    assert batch["labels"][1].tolist() == [IGNORED, 0] + [IGNORED] * 6
    assert batch["loss_weights"].tolist() == [4, 1]


# Subwords


def test_subwords_are_those_of_transformers(make: Make) -> None:
    rows = tagged_rows(50, 1)
    encoded = ready(make(rows)).encoded["train"]
    tokenizer = letters_tokenizer()
    assert encoded["input_ids"] == tokenizer([row["tokens"] for row in rows], is_split_into_words=True)["input_ids"]


def test_byte_level_words_keep_their_space() -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    texts = ["the cat sat on the mat", "a cat, a mat and the hat (a hat)."]
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<e>"])
    backend.train_from_iterator(texts * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<e>", eos_token="<e>")
    encoder = WordEncoder(tokenizer, 64, 8)
    for text in texts:
        [feature] = encoder.features([located_words(text)])
        assert tokenizer.decode(feature["input_ids"]) == text
        assert len(feature["input_ids"]) <= len(tokenizer(text)["input_ids"]) + text.count(").")
    [words] = encoder.features([located_words(texts[0].split())])
    assert words["input_ids"] == tokenizer(texts[0])["input_ids"]


def test_a_word_that_the_tokenizer_drops_has_a_place(make: Make) -> None:
    data = ready(make([{"tokens": ["a", "\u200b", "b"], "tags": ["B-PER", "O", "B-LOC"]}]))
    assert data.encoded["train"][0]["input_ids"] == [2, 4, data.tokenizer.unk_token_id, 5, 3]
    assert labels_of(data) == ["-", "B-PER", "O", "B-LOC", "-"]


def test_new_rows_are_words_or_a_text(make: Make) -> None:
    data = make([ROW])
    given = [ROW["tokens"], "ab cd, d", "b"]
    assert [data.validate_inputs({"tokens": value}) for value in given] == [None] * 3
    features = data.encode_inputs({"tokens": given})
    assert features["row"] == [0, 1, 2]
    assert features["offsets"][1] == [(0, 2), (3, 5), (5, 6), (7, 8)]
    assert torch.equal(data.collate(features)["input_ids"][0][:8], torch.tensor([2, 4, 21, 6, 23, 7, 5, 3]))


# Mistakes

WORDS = {"tokens": ["a", "b"], "tags": ["O", "B-X"]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": [], "tags": []}, "the list of words in column 'tokens' is empty"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "token 1 in column 'tokens' is empty"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "token 1 in column 'tokens' is None"),
        ({"tokens": None, "tags": ["O"]}, "the text in column 'tokens' is null"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens have 1 tags"),
        ({"tokens": ["a"], "tags": None}, "column 'tags' holds None (NoneType), not a list of tags"),
        ({"tokens": ["a", "b"], "tags": ["O", None]}, "token 1 has the tag None (NoneType)"),
        ({"tokens": ["a"], "tags": ["PER"]}, "token 0 has the tag 'PER', which is neither 'O' nor a prefix and a type"),
        ({"tokens": ["a"], "tags": ["E-X"]}, "token 0 has the tag 'E-X', but the prefixes of IOB2 are B, I; BIOES has it"),
    ],
)
def test_broken_rows(make: Make, row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        make([WORDS, WORDS, row]).setup()
    assert f"train row 3: {said}" in str(error.value)
    kept = make([WORDS, WORDS, row], on_bad_rows="drop")
    assert len(kept.rows["train"]) == 2
    assert len(kept.rows.dropped["train"]) == 1


@pytest.mark.parametrize(
    ("entities", "said"),
    [
        (
            [{"start": 3, "end": 9, "label": "X"}],
            "entity 0 in column 'marks' ('X') goes from 3 to 9, which is not within the text of 8",
        ),
        ([{"start": 2, "end": 2, "label": "X"}], "goes from 2 to 2"),
        ([{"start": 2, "end": 3, "label": "X"}], "entity 0 in column 'marks' ('X') covers no word"),
        ([{"start": 0, "end": 2, "label": ""}], "has the label '' (str); it should be a name"),
        (
            [{"start": 0, "end": 2, "label": "X"}, {"start": 1, "end": 5, "label": "Y"}],
            "overlaps another entity; tags cannot represent both",
        ),
        (None, "column 'marks' holds None (NoneType), not a list of entities; use [] for a text without entities"),
    ],
)
def test_broken_entities(make: Make, entities: Any, said: str) -> None:
    good = {"text": "ab cd ef", "marks": [{"start": 0, "end": 2, "label": "X"}]}
    with pytest.raises(UserError) as error:
        make([good, {"text": "ab cd ef", "marks": entities}], entities="marks").setup()
    assert "train row 2: " in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "entities", [{"start": 0, "end": 2, "label": "X"}, {"start": [0, 3], "end": [2], "label": ["X"]}, {"start": "0", "end": []}]
)
def test_an_object_that_holds_no_even_lists(make: Make, entities: Any) -> None:
    with pytest.raises(
        UserError, match=r"row 1: column 'marks' holds .*; it should be a list of entities, or an object with l"
    ):
        make([{"text": "ab cd", "marks": entities}], entities="marks").setup()


def test_entities_without_a_key(make: Make) -> None:
    with pytest.raises(UserError, match=r"row 1: entity 0 in column 'marks' is .*; it needs the keys start, end, label"):
        make([{"text": "ab", "marks": [{"start": 0, "end": 2}]}], entities="marks").setup()


def test_mistakes_of_tags(make: Make, tmp_path: Path) -> None:
    strange = {"tokens": ["a", "b"], "tags": ["O", "B-Z"]}
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: make([WORDS], [WORDS, strange]).setup(),
            "validation row 2: tag 'B-Z' is never seen in train; the tags are O, B-X, I-X",
        ),
        (
            lambda: make([WORDS, strange], label_names=["O", "B-X"]).setup(),
            "train row 2: tag 'B-Z' is never in data.label_names",
        ),
        (lambda: make([{"tokens": ["a"], "tags": ["O"]}]).setup(), "has no tag but O; check data.tags"),
        (
            lambda: make([{"tokens": ["a"], "tags": [1]}]).setup(),
            "are numbers; name the tags in their order with data.label_names",
        ),
        (
            lambda: make([{"tokens": ["a"], "tags": [2]}], label_names=["O", "B-X"]).setup(),
            "the tag 2, but the 2 tags count from 0 to 1",
        ),
        (
            lambda: make([WORDS], label_names=["O", "X"]).setup(),
            "data.label_names has the tag 'X', which does not belong to data.scheme IOB2",
        ),
        (lambda: make([{"tokens": "a b", "tags": ["O", "O"]}]).setup(), "column 'tokens' holds a text, not a list of words"),
        (lambda: make([WORDS], entities="marks", spans=False), "data.entities 'marks' marks spans, and model.spans is false"),
        (lambda: make([WORDS], tags="tag").setup(), "data.tags: "),
    ]
    for call, said in cases:
        with pytest.raises(UserError) as error:
            call()
        assert said in str(error.value), json.dumps(said)
