"""Overlap of splits, against a comparison of every pair."""

import random

import pytest

from ftlit.data.rows.duplicates import Repeat, find_overlap, jaccard, normalised, shingles
from tests.support.speeds import some_by_default


def brute_force(train: list[str], other: list[str], threshold: float) -> tuple[int, int]:
    known = [normalised(text) for text in train]
    sets = [shingles(text) for text in known]
    texts = [normalised(text) for text in other]
    exact = [text in known for text in texts]
    near = [max(jaccard(shingles(text), s) for s in sets) >= threshold for text in texts]
    return sum(exact), sum(n and not e for n, e in zip(near, exact, strict=True))


def edited(words: list[str], generator: random.Random) -> list[str]:
    """The text with its end cut off, up to half of it, and in every second case one word of it changed."""
    words = words[: len(words) - generator.randint(0, len(words) // 2)]
    if generator.random() < 0.5:
        words[generator.randrange(len(words))] = "改"
    return words


@pytest.mark.parametrize("threshold", some_by_default([0.5, 0.8, 0.9], chosen=[1]))
@pytest.mark.parametrize("separator", [" ", ""], ids=["words", "unspaced"])
def test_as_brute_force(threshold: float, separator: str) -> None:
    generator = random.Random(7)
    vocabulary = [chr(0x4E00 + i) if separator == "" else f"word{i}" for i in range(300)]
    train = [generator.choices(vocabulary, k=generator.randint(1, 80)) for _ in range(300)]
    other = [edited(generator.choice(train), generator) for _ in range(300)]
    train_texts, other_texts = ([separator.join(words) for words in texts] for texts in (train, other))
    overlap = find_overlap(train_texts, other_texts, threshold=threshold)
    assert (overlap.exact, overlap.near) == brute_force(train_texts, other_texts, threshold)
    assert min(overlap.exact, overlap.near) > 5


def test_exact_ignores_case_form_and_punctuation() -> None:
    overlap = find_overlap(["b", "Hello,  World!"], ["hello world", "ＨＥＬＬＯ world?", "other"])
    assert (overlap.exact, overlap.near) == (2, 0)
    assert overlap.examples[0] == Repeat(1, 0, 1.0, "Hello,  World!", "hello world")


def test_normalised_keeps_what_tells_texts_apart() -> None:
    assert normalised("Straße -- ﬁne\n") == "strasse fine"
    assert normalised("?!") != normalised("...")
    assert normalised("कि") != normalised("की")
    assert normalised("C++") != normalised("C")


def test_shingles() -> None:
    assert shingles("a b c d") == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles("one two") == {"one t", "ne tw", "e two"}
    assert shingles("ab") == {"ab"}
    assert shingles("今 天 天 气 很好") == {"今 天 天", " 天 天 ", "天 天 气", " 天 气 ", "天 气 很", " 气 很好"}


def test_near_chinese() -> None:
    text = "这家酒店的房间很干净,服务员也非常热情,下次来北京出差还会选择住在这里,推荐给大家"
    overlap = find_overlap(["完全不同的一句话", text], [text.replace("推荐给大家", "推荐大家"), "早餐很一般"])
    assert (overlap.exact, overlap.near) == (0, 1)
    assert overlap.examples[0].train_row == 1
    assert 0.8 <= overlap.examples[0].similarity < 1


def test_examples_are_limited_and_exact_ones_come_first() -> None:
    words = [f"w{i}" for i in range(30)]
    train = [" ".join(words), "short text"]
    other = [" ".join([*words, "end"]), "Short text.", " ".join(["start", *words])]
    overlap = find_overlap(train, other, examples=2)
    assert (overlap.exact, overlap.near) == (1, 2)
    assert [(e.train_row, e.other_row) for e in overlap.examples] == [(1, 1), (0, 0)]
    assert overlap.examples[1].similarity == pytest.approx(28 / 29)
    assert find_overlap(train, other, examples=0).examples == []


def test_many_texts_of_one_template() -> None:
    template = "dear customer your order number {} was sent to you today and will be there by tomorrow evening"
    overlap = find_overlap([template.format(i) for i in range(3000)], [template.format(-i) for i in range(1, 50)], 0)
    assert overlap.exact == 49  # the sign is punctuation
    assert find_overlap([template.format(f"a{i}") for i in range(3000)], [template.format("b")], threshold=0.6).near == 1


@pytest.mark.parametrize(("train", "other"), [([], ["a"]), (["a"], []), ([], [])])
def test_empty_splits(train: list[str], other: list[str]) -> None:
    overlap = find_overlap(train, other)
    assert (overlap.exact, overlap.near, overlap.examples) == (0, 0, [])


def test_strange_texts() -> None:
    overlap = find_overlap(["", "\ud800", "😀"], ["", "\ud800 x", "😢"])
    assert (overlap.exact, overlap.near) == (1, 0)


def test_threshold_out_of_range() -> None:
    with pytest.raises(ValueError, match="threshold is 80; it should be above 0 and at most 1"):
        find_overlap(["a"], ["a"], threshold=80)
