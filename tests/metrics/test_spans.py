"""Entities against seqeval and hand-made examples of each scheme."""

import random
import warnings

import pytest

from ftlit.errors import UserError
from ftlit.metrics.spans import check_tags, entities, iob2_tags, span_scores, to_iob2, token_accuracy

seqeval = pytest.importorskip("seqeval.metrics")
labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")

KEYS = ("precision", "recall", "f1")
IOB = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-a-b", "I-a-b"]
BIOES = ["O", *(f"{prefix}-{label}" for prefix in "BIES" for label in ("PER", "LOC"))]


def random_tags(tags: list[str], seed: int, count: int = 60) -> list[list[str]]:
    """Sentences of 0 to 12 tags that follow no rule."""
    rng = random.Random(seed)
    return [rng.choices(tags, k=rng.randint(0, 12)) for _ in range(count)]


@pytest.mark.parametrize(("tags", "scheme"), [(IOB, "IOB1"), (IOB, "IOB2"), (BIOES, "BIOES")])
def test_any_sequence_reads_as_in_seqeval(tags: list[str], scheme: str) -> None:
    for sentence in random_tags(tags, seed=1, count=500):
        expected = [(label, start, end + 1) for label, start, end in labeling.get_entities(sentence)]
        assert entities(sentence, scheme) == expected, sentence


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("IOB2", "B-PER I-PER O B-LOC B-LOC", [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5)]),
        ("IOB2", "I-PER I-LOC O I-LOC", [("PER", 0, 1), ("LOC", 1, 2), ("LOC", 3, 4)]),
        ("IOB1", "I-PER I-PER B-PER O I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5)]),
        ("IO", "I-PER I-PER I-LOC O I-LOC", [("PER", 0, 2), ("LOC", 2, 3), ("LOC", 4, 5)]),
        ("BIOES", "B-PER I-PER E-PER S-PER O S-LOC", [("PER", 0, 3), ("PER", 3, 4), ("LOC", 5, 6)]),
        ("BIOES", "B-PER I-PER L-PER U-PER O U-LOC", [("PER", 0, 3), ("PER", 3, 4), ("LOC", 5, 6)]),
        ("BIOES", "B-PER M-PER E-PER E-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("IOB2", "B-event-other I-event-other", [("event-other", 0, 2)]),
        ("IOB2", "", []),
    ],
)
def test_each_scheme(scheme: str, tags: str, expected: list) -> None:
    assert entities(tags.split(), scheme) == expected
    again = to_iob2(tags.split(), scheme)
    assert len(again) == len(tags.split())
    assert entities(again) == expected
    assert to_iob2(again, "IOB2") == again


def test_tags_of_spans() -> None:
    assert iob2_tags([("LOC", 3, 4), ("PER", 0, 2)], 5) == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    with pytest.raises(UserError, match="'LOC' from token 1 to 3 overlaps"):
        iob2_tags([("PER", 0, 2), ("LOC", 1, 3)], 4)
    for span in (("PER", 2, 2), ("PER", 3, 5), ("PER", -1, 1)):
        with pytest.raises(UserError, match="is not inside a sentence of 4 tokens"):
            iob2_tags([span], 4)


@pytest.mark.parametrize(
    ("scheme", "tag", "words"),
    [
        ("IOB2", "PER", ["token 1", "'PER'", "neither 'O'"]),
        ("IOB2", "B-", ["'B-'", "neither 'O'"]),
        ("IOB2", "S-PER", ["'S-PER'", "prefixes of IOB2 are B, I; BIOES has it"]),
        ("IO", "B-PER", ["prefixes of IO are I; IOB1 and IOB2 and BIOES have it"]),
        ("BIOES", "X-PER", ["'X-PER'", "B, I, E, S"]),
    ],
)
def test_what_is_wrong_with_a_tag(scheme: str, tag: str, words: list[str]) -> None:
    sentence = check_tags(["O", tag], scheme)
    assert sentence is not None
    assert all(word in sentence for word in words), sentence
    with pytest.raises(UserError):
        entities(["O", tag], scheme)


def test_nothing_is_wrong_with_the_tags_of_a_scheme() -> None:
    assert check_tags(IOB, "IOB2") is None
    assert check_tags(BIOES, "BIOES") is None


@pytest.mark.parametrize("tags", [IOB, BIOES])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_seqeval_s(tags: list[str], seed: int) -> None:
    gold = random_tags(tags, seed)
    rng = random.Random(seed)
    # Mostly right, and each odd seed predicts a type that gold lacks.
    predicted = [
        [tag if rng.random() < 0.8 else rng.choice([*tags, "B-NEW"][: len(tags) + seed % 2]) for tag in s] for s in gold
    ]
    rows = span_scores([entities(s, "BIOES") for s in predicted], [entities(s, "BIOES") for s in gold])
    names = sorted({span[0] for s in [*predicted, *gold] for span in entities(s, "BIOES")})
    assert [row["label"] for row in rows] == [*names, "micro", "macro", "weighted"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types without predictions
        each = labeling.precision_recall_fscore_support(gold, predicted, average=None)
        for i, row in enumerate(rows[: len(names)]):
            assert [row[key] for key in (*KEYS, "support")] == pytest.approx([values[i] for values in each])
        for row in rows[len(names) :]:
            expected = labeling.precision_recall_fscore_support(gold, predicted, average=row["label"])
            assert [row[key] for key in (*KEYS, "support")] == pytest.approx(expected), row["label"]


def test_scores_by_hand() -> None:
    gold = [[("PER", 0, 2), ("LOC", 3, 4)], [("PER", 0, 1)]]
    predicted = [[("PER", 0, 2), ("LOC", 3, 5)], [("ORG", 0, 1), ("ORG", 0, 1)]]
    rows = {row["label"]: tuple(row[key] for key in (*KEYS, "support")) for row in span_scores(predicted, gold)}
    assert rows["PER"] == pytest.approx((1, 1 / 2, 2 / 3, 2))
    assert rows["LOC"] == (0, 0, 0, 1)
    assert rows["ORG"] == (0, 0, 0, 0)
    assert rows["micro"] == pytest.approx((1 / 3, 1 / 3, 1 / 3, 3))
    assert rows["macro"] == pytest.approx((1 / 3, 1 / 6, 2 / 9, 3))
    assert rows["weighted"] == pytest.approx((2 / 3, 1 / 3, 4 / 9, 3))


def test_sentences_without_entities_score_zero() -> None:
    rows = span_scores([[], []], [[], []])
    assert [row["label"] for row in rows] == ["micro", "macro", "weighted"]
    assert all(row[key] == 0 for row in rows for key in (*KEYS, "support"))
    with pytest.raises(ValueError):
        span_scores([[]], [[], []])


def test_token_accuracy() -> None:
    gold, predicted = random_tags(IOB, 1), [list(s) for s in random_tags(IOB, 1)]
    for sentence in predicted[::2]:
        sentence[::3] = ["O"] * len(sentence[::3])
    assert token_accuracy(predicted, gold) == pytest.approx(seqeval.accuracy_score(gold, predicted))
    assert token_accuracy([["O", "B-PER"], []], [["O", "O"], []]) == 0.5
    assert token_accuracy([], []) == 0
    with pytest.raises(ValueError):
        token_accuracy([["O"]], [["O", "O"]])
