"""Augmentation: what may change, what must stay, and rows that are named for their originals."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from jsonargparse import ArgumentParser

from ftlit.data.rows.augment import Augmentation, RandomDeletion, RandomSwap, SynonymReplacement, TokenMasking, augment_rows
from ftlit.data.text.lexicon import join_words, split_words
from ftlit.errors import UserError
from ftlit.exports.back_translation import BackTranslation

ENGLISH = "The plot is thin, but the acting of all of them is good and the music even better."
CHINESE = "这部电影的情节很简单,但是演员们的表演非常精彩,iPhone拍的。"
TEXTS = [ENGLISH, CHINESE] * 200


@pytest.fixture
def lexicon(tmp_path: Path) -> str:
    file = tmp_path / "lexicon.tsv"
    file.write_text(
        "good\tfine, superb\nplot\tstory\nthe\tthat\n电影\t影片\n电影院\t戏院\n精彩\t出色,绝妙\n\ngood\tgreat\n",
        encoding="utf-8",
    )
    return str(file)


@pytest.fixture
def kinds(lexicon: str) -> list[Augmentation]:
    return [RandomDeletion(0.2), RandomSwap(0.2), SynonymReplacement(lexicon, 0.2), TokenMasking(0.2)]


def apply(augmentation: Augmentation, texts: list[str], seed: int = 0, mask: str | None = "[MASK]") -> list[str]:
    return augmentation.augmented(texts, np.random.default_rng(seed), mask)


def words(text: str) -> list[str]:
    return split_words(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a good  film.\nYes", ["a", "good", "film.", "Yes"]),
        ("我爱iPhone手机", ["我", "爱", "iPhone", "手", "机"]),
        ("房间 不错 , 服务 很 好", ["房间", "不错", ",", "服务", "很", "好"]),  # segmented already
        ("房间不错 服务员的态度很好", list("房间不错服务员的态度很好")),
        ("すもも", ["す", "も", "も"]),
        ("영화가 좋다", ["영화가", "좋다"]),
        ("the word 山 means mountain", ["the", "word", "山", "means", "mountain"]),
    ],
)
def test_words_and_the_space_between_them(text: str, expected: list[str]) -> None:
    found, gaps = split_words(f" {text}\n")
    assert found == expected
    assert join_words(found, gaps) == text


def test_one_text_each_decided_by_the_seed(kinds: list[Augmentation]) -> None:
    for kind in kinds:
        first = apply(kind, TEXTS)
        assert len(first) == len(TEXTS)
        assert first == apply(kind, TEXTS) != apply(kind, TEXTS, seed=1)
        assert any(new != old for new, old in zip(first, TEXTS, strict=True))


@pytest.mark.parametrize("text", ["good", "电", "good,", " 好 "])
def test_text_of_one_word_stays(kinds: list[Augmentation], text: str) -> None:
    for kind in [*kinds, RandomDeletion(0.99), TokenMasking(0.99)]:
        assert {new.strip() for new in apply(kind, [text] * 50)} == {text.strip()}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE.split(",")[1]])
def test_deletion_leaves_words_in_order_and_deletes_its_share(text: str) -> None:
    texts = [text] * 500
    shorter = apply(RandomDeletion(0.2), texts)
    for new in shorter:
        rest = iter(words(text))
        assert all(word in rest for word in words(new))
    kept = sum(len(words(new)) for new in shorter) / (500 * len(words(text)))
    assert abs(kept - 0.8) < 0.03


def test_deletion_leaves_one_word_at_least_and_not_always_the_same() -> None:
    assert {*apply(RandomDeletion(0.999), ["a b c"] * 200)} >= {"a", "b", "c"}
    assert "" not in apply(RandomDeletion(0.999), ["a b c"] * 200)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_swap_has_the_same_words_in_another_order(text: str) -> None:
    for new in apply(RandomSwap(0.01), [text] * 50):  # one swap
        assert Counter(words(new)) == Counter(words(text))
        moved = sum(a != b for a, b in zip(words(new), words(text), strict=True))
        assert moved in (0, 2)  # none where the two words are the same


def test_swap_count_is_a_share_and_places_are_all_alike() -> None:
    text = " ".join(map(str, range(100)))
    moved = [{i for i, w in enumerate(words(new)) if w != str(i)} for new in apply(RandomSwap(0.1), [text] * 200)]
    assert 15 < np.mean([len(places) for places in moved]) <= 20
    assert set.union(*moved) == set(range(100))
    assert apply(RandomSwap(), ["a b"]) == ["b a"]


def test_space_stays_where_it_is() -> None:
    text = "one\n\ntwo  three"
    assert set(apply(RandomSwap(), [text] * 50)) == {"two\n\none  three", "three\n\ntwo  one", "one\n\nthree  two"}


def test_synonyms_keep_punctuation_and_capitals(lexicon: str) -> None:
    found = set(apply(SynonymReplacement(lexicon, 0.99), ["The plot? (Good), Zoë"] * 100))
    assert found == {f"That story? ({word}), Zoë" for word in ("Fine", "Superb", "Great")}


def test_synonyms_for_a_share_of_the_words(lexicon: str) -> None:
    text = " ".join(["good"] * 20)
    for new in apply(SynonymReplacement(lexicon, 0.25), [text] * 20):
        assert words(new).count("good") == 15


def test_chinese_words_of_the_lexicon_are_found_longest_first(lexicon: str) -> None:
    found = set(apply(SynonymReplacement(lexicon, 0.99), ["电影院的电影精彩"] * 50))
    assert found == {"戏院的影片出色", "戏院的影片绝妙"}
    assert set(apply(SynonymReplacement(lexicon, 0.99), ["电影 精彩"] * 50)) == {"影片 出色", "影片 绝妙"}


@pytest.mark.parametrize("text", ["nothing  here", "晚上忽然停了电 影子也看不见了"])  # 电 and 影 in two clauses
def test_text_without_known_words_stays(lexicon: str, text: str) -> None:
    assert apply(SynonymReplacement(lexicon), [text]) == [text]


def test_lexicon_as_json(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.json"
    file.write_text(json.dumps({"good": ["fine"]}))
    assert apply(SynonymReplacement(str(file)), ["so good"]) == ["so fine"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "l.tsv",
            "good\tfine\n\nbad poor\n",
            "line 3: expected a word, a tab and synonyms separated by commas, got 'bad poor'",
        ),
        ("l.tsv", "good\t,\n", "line 1: expected a word, a tab"),
        ("l.tsv", "\n", "has no words"),
        ("l.json", '{"good": ["fine"],\n bad}', "line 2: not valid JSON"),
        ("l.json", '["good"]', "should contain one object from words to lists of synonyms, not a list"),
        ("l.json", '{"good": "fine"}', "the word 'good' should have a list of synonyms, got 'fine'"),
    ],
)
def test_broken_lexicon(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        apply(SynonymReplacement(str(tmp_path / name)), ["a b"])


def test_lexicon_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"data.augment: SynonymReplacement.lexicon 'no.tsv' does not exist"):
        apply(SynonymReplacement("no.tsv"), ["a b"])


def test_masking_replaces_its_share_by_the_mask() -> None:
    masked = [words(new) for new in apply(TokenMasking(0.3), [ENGLISH] * 300)]
    for new in masked:
        assert all(a in (b, "[MASK]") for a, b in zip(new, words(ENGLISH), strict=True))
    share = np.mean([word == "[MASK]" for new in masked for word in new])
    assert abs(share - 0.3) < 0.04


def test_masking_of_chinese_and_with_a_mask_of_its_own() -> None:
    assert set(apply(TokenMasking(0.999), ["很好"] * 50)) == {"很[MASK]", "[MASK]好"}
    assert set(apply(TokenMasking(0.999, mask="_"), ["a b"] * 50, mask=None)) == {"_ b", "a _"}


def test_tokenizer_without_mask_token() -> None:
    with pytest.raises(UserError, match=r"tokenizer of model.backbone has none; set its mask to a word such as '_'"):
        apply(TokenMasking(), ["a b"], mask=None)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_settings_out_of_range(value: float) -> None:
    for kind, key in [(RandomDeletion, "probability"), (RandomSwap, "share"), (TokenMasking, "probability")]:
        with pytest.raises(UserError, match=rf"data.augment: {kind.__name__}.{key} must be above 0 and below 1, got {value}"):
            kind(value)
    with pytest.raises(UserError, match=r"SynonymReplacement.share must be above 0"):
        SynonymReplacement("l.tsv", value)


def test_other_settings_out_of_range() -> None:
    with pytest.raises(UserError, match=r"TokenMasking.mask must be a word, got ' '"):
        TokenMasking(mask=" ")
    with pytest.raises(UserError, match=r"BackTranslation.batch_size must be at least 1, got 0"):
        BackTranslation("runs/x", batch_size=0)


class Translator:
    """Stands for a run that is open: writes what a function makes of a text."""

    def __init__(self, write: Any, labels: bool = False) -> None:
        self.write, self.seen = write, []
        self.model = type("Model", (), {"label_names": ["a"]} if labels else {})()

    def __call__(self, rows: list[str], batch_size: int) -> list[dict[str, Any]]:
        self.seen.append((rows, batch_size))
        assert all(row.strip() for row in rows)  # as a run demands
        return [{"id": i, "prediction": self.write(row)} for i, row in enumerate(rows)]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Translator]:
    opened: dict[str, Translator] = {
        "there": Translator(lambda text: "" if "lost" in text else text.upper()),
        "back": Translator(lambda text: f"{text.lower()} again" if "EMPTY" not in text else " "),
        "classifier": Translator(lambda text: "a", labels=True),
        "regression": Translator(lambda text: 0.5),
    }
    monkeypatch.setattr("ftlit.exports.predict.load", lambda run, checkpoint, device: opened[run])
    return opened


def test_back_translation_goes_through_both_runs(runs: dict[str, Translator]) -> None:
    new = apply(BackTranslation("there", "back", batch_size=5), ["so good", "so bad", "so good"])
    assert new == ["so good again", "so bad again", "so good again"]
    assert runs["there"].seen == [(["so good", "so bad"], 5)]  # each text once
    assert runs["back"].seen == [(["SO GOOD", "SO BAD"], 5)]


def test_back_translation_by_one_run(runs: dict[str, Translator]) -> None:
    assert apply(BackTranslation("there"), ["so good"]) == ["SO GOOD"]


def test_back_translation_that_comes_out_empty_leaves_the_text(runs: dict[str, Translator]) -> None:
    texts = ["all lost", "it is empty", "word", "so good"]
    assert apply(BackTranslation("there", "back"), texts) == ["all lost", "it is empty", "word", "so good again"]


@pytest.mark.parametrize("run", ["classifier", "regression"])
def test_back_translation_by_a_run_that_does_not_write(runs: dict[str, Translator], run: str) -> None:
    with pytest.raises(UserError, match=f"BackTranslation needs runs of Seq2Seq, but '{run}' does not generate texts"):
        apply(BackTranslation(run), ["so good"])


def test_runs_are_opened_only_when_texts_come() -> None:
    kind = BackTranslation("no/such/run")
    with pytest.raises(UserError, match="no/such/run"):
        apply(kind, ["so good"])


def test_short_class_names_in_a_config() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--augment", type=list[Augmentation])
    given = [
        {"class_path": "RandomDeletion", "init_args": {"probability": 0.3}},
        {"class_path": "BackTranslation", "init_args": {"forward_run": "x", "backward_run": "y"}},
        {"class_path": "TokenMasking"},
    ]
    made = parser.instantiate_classes(parser.parse_object({"augment": given})).augment
    assert made == [RandomDeletion(0.3), BackTranslation("x", "y"), TokenMasking()]


def source(count: int = 30) -> datasets.Dataset:
    columns = {
        "text": [f"this is text number {i} of many" for i in range(count)],
        "other": [f"and  here stands another for {i}" for i in range(count)],
        "label": [i % 2 for i in range(count)],
        "row_id": [f"train:{i}" for i in range(count)],
    }
    features = datasets.Features(
        {name: datasets.ClassLabel(names=["no", "yes"]) if name == "label" else datasets.Value("string") for name in columns}
    )
    return datasets.Dataset.from_dict(columns, features=features)


def augmented(rows: datasets.Dataset, copies: int = 2, seed: int = 0, **given: Any) -> datasets.Dataset:
    settings = {"columns": ["text", "other"], "augmentations": [RandomSwap(0.3), RandomDeletion(0.2)], "mask_token": None}
    return augment_rows(rows, copies=copies, seed=seed, **{**settings, **given})


def test_originals_come_first_and_copies_are_named_for_them() -> None:
    rows = source()
    new = augmented(rows)
    assert new.features == rows.features
    assert new.select(range(30)).to_list() == rows.to_list()
    assert new["row_id"][30:] == [f"train:{i}#{copy}" for copy in (1, 2) for i in range(30)]
    for row in new.select(range(30, 90)):
        original = rows[int(row["row_id"][6:].split("#")[0])]
        assert row["label"] == original["label"]
        for column in ("text", "other"):
            assert set(row[column].split()) <= set(original[column].split())


def test_only_the_given_columns_change() -> None:
    new = augmented(source(), columns=["text"], copies=1)
    assert new["other"][30:] == new["other"][:30]
    assert all(a != b for a, b in zip(new["text"][30:], new["text"][:30], strict=True))


def test_augmentations_are_applied_in_order() -> None:
    class Append(Augmentation):
        def __init__(self, end: str) -> None:
            self.end = end

        def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
            return [f"{text} {self.end} {mask_token}" for text in texts]

    new = augmented(source(2), copies=1, augmentations=[Append("x"), Append("y")], mask_token="m")
    assert new["text"][2] == "this is text number 0 of many x m y m"


def test_copies_that_repeat_are_left_out() -> None:
    columns = {"text": ["good", "a b"], "row_id": ["train:0", "train:1"]}
    rows = datasets.Dataset.from_dict(columns)
    new = augmented(rows, copies=5, columns=["text"], augmentations=[RandomSwap()])
    assert new["row_id"][:] == ["train:0", "train:1", "train:1#1"]  # two words have one other order
    assert new["text"][:] == ["good", "a b", "b a"]
    assert augmented(rows.select([0]), columns=["text"]).to_list() == rows.select([0]).to_list()


def test_other_space_alone_is_no_new_version() -> None:
    rows = datasets.Dataset.from_dict({"text": [" one  "], "row_id": ["train:0"]})
    assert len(augmented(rows, columns=["text"])) == 1


def test_seed_decides_and_more_copies_leave_the_first() -> None:
    one, two, other = augmented(source(), copies=1), augmented(source(), copies=2), augmented(source(), copies=1, seed=1)
    assert two.select(range(60)).to_list() == one.to_list()
    assert one["text"][30:] != other["text"][30:]
    assert two["text"][60:] != one["text"][30:]


def test_same_rows_have_the_same_fingerprint_for_the_cache() -> None:
    assert augmented(source())._fingerprint == augmented(source())._fingerprint != augmented(source(), seed=1)._fingerprint


def test_nothing_to_do() -> None:
    rows = source(3)
    assert augmented(rows, copies=0) is rows
    assert augmented(rows, augmentations=[]) is rows
