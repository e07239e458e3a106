"""Words of texts, and the tokens of each."""

from ftlit.insight.explain.words import SPECIAL, Place, Word, words_of


def found(text: str, spans: list[tuple[int, int] | None]) -> tuple[list[str], list[int]]:
    places: list[Place] = [None if span is None else ("text", *span) for span in spans]
    words = words_of({"text": text}, places)
    assert all(text[word.start : word.end] == word.text for word in words.words)
    return [word.text for word in words.words], words.of_tokens


def test_subwords_belong_to_their_word_and_special_tokens_to_none() -> None:
    assert found("A lovely day", [None, (0, 1), (2, 6), (6, 8), (9, 12), None]) == (
        ["A", "lovely", "day"],
        [SPECIAL, 0, 1, 1, 2, SPECIAL],
    )


def test_the_space_in_front_of_a_token_is_no_part_of_its_word() -> None:
    assert found("not bad", [(0, 3), (3, 7)]) == (["not", "bad"], [0, 1])


def test_words_that_share_a_token_are_one() -> None:
    """Some vocabularies have tokens such as an ellipsis, whose marks are words of their own."""
    assert found("well ... no", [(0, 4), (5, 8), (9, 11)]) == (["well", "...", "no"], [0, 1, 2])
    assert found("can't", [(0, 2), (2, 4), (4, 5)]) == (["can'", "t"], [0, 0, 1])


def test_a_token_of_white_space_belongs_to_the_next_word_and_at_the_end_to_the_last() -> None:
    assert found("a  b ", [(0, 1), (1, 3), (3, 4), (4, 5)]) == (["a", "b"], [0, 1, 1, 1])
    assert found(" a", [None, (0, 1), (1, 2)]) == (["a"], [SPECIAL, 0, 0])
    assert found(" ", [None, (0, 1), None]) == ([], [SPECIAL, SPECIAL, SPECIAL])


def test_chinese_characters_are_words_and_the_bytes_of_one_are_one() -> None:
    assert found("好书😀", [(0, 1), (1, 2), (2, 3), (2, 3), (2, 3)]) == (["好", "书", "😀"], [0, 1, 2, 2, 2])


def test_words_of_a_pair_keep_their_columns() -> None:
    texts = {"premise": "a b", "hypothesis": "a"}
    words = words_of(texts, [("premise", 0, 1), ("premise", 2, 3), None, ("hypothesis", 0, 1)])
    assert words.words == [Word("a", "premise", 0, 1), Word("b", "premise", 2, 3), Word("a", "hypothesis", 0, 1)]
    assert words.of_tokens == [0, 1, SPECIAL, 2]


def test_a_word_that_is_cut_at_the_end_of_the_text_is_shown_whole() -> None:
    assert found("unbelievable", [(0, 2), (2, 5)]) == (["unbelievable"], [0, 0])
