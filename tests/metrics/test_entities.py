"""Words of a text and entities by their characters."""

import random

import pytest

from ftlit.metrics.entities import covered_words, located_entities, located_words, word_offsets
from ftlit.metrics.spans import iob2_tags


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. O'Neil paid €5 (3.5%)", ["Mr", ".", "O", "'", "Neil", "paid", "€", "5", "(", "3", ".", "5", "%", ")"]),
        ("in\u00a0 北京,\tनई दिल्ली\n", ["in", "北", "京", ",", "नई", "दिल्ली"]),
        ("👍ok", ["👍", "ok"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_offsets(text)] == words


def test_words_of_a_list_are_joined_by_spaces() -> None:
    words = ["New York", ",", "北京"]
    text, offsets = located_words(words)
    assert text == "New York , 北京"
    assert [text[start:end] for start, end in offsets] == words


def test_covered_words() -> None:
    text, offsets = located_words("one two three")
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            first, last = covered_words(start, end, offsets)
            touched = [i for i, (a, b) in enumerate(offsets) if a < end and start < b]
            assert list(range(first, last)) == touched, text[start:end]


def test_entities_are_found_where_they_stand() -> None:
    rng = random.Random(0)
    text, offsets = located_words("In  New York, Ann met\nBob Lee.")
    places = [("LOC", 1, 3), ("PER", 4, 5), ("PER", 6, 8)]
    scores = [rng.random() for _ in offsets]
    found = located_entities(iob2_tags(places, len(offsets)), offsets, text, scores=scores)
    assert [(entity["label"], entity["text"]) for entity in found] == [("LOC", "New York"), ("PER", "Ann"), ("PER", "Bob Lee")]
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in found)
    assert [entity["score"] for entity in found] == pytest.approx([sum(scores[a:b]) / (b - a) for _, a, b in places])
    part = located_entities(["B-PER", "O"], offsets[4:6], text[offsets[4][0] :], begin=offsets[4][0])
    assert part == [{key: value for key, value in found[1].items() if key != "score"}]
