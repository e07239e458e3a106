"""Windows over long texts: every word once, whole, where it has most context."""

import random
from itertools import pairwise

import pytest

from ftlit.data.text.word_windows import Window, word_windows


def cases(count: int) -> list[tuple[list[int], int, int]]:
    rng = random.Random(0)
    found = []
    for _ in range(count):
        capacity = rng.randint(1, 20)
        lengths = [rng.randint(1, min(capacity, 6)) for _ in range(rng.randint(1, 60))]
        found.append((lengths, capacity, rng.randint(0, capacity - 1)))
    return found


def test_a_text_that_fits_is_one_window() -> None:
    assert word_windows([2, 3, 1], 6, 2) == [Window(0, 3, 0, 3)]


def test_words_by_hand() -> None:
    # 01234 | 34567 | 6789: word 3 has one behind it in the first window and none before it in the second; 4 the other way.
    assert word_windows([1] * 10, 5, 2) == [Window(0, 5, 0, 4), Window(3, 8, 4, 7), Window(6, 10, 7, 10)]
    assert word_windows([1, 1, 4, 1], 5, 2) == [Window(0, 2, 0, 2), Window(1, 3, 2, 3), Window(3, 4, 3, 4)]


@pytest.mark.parametrize("stride", [0, 3])
def test_overlap(stride: int) -> None:
    windows = word_windows([1] * 50, 10, stride)
    assert {a.end - b.start for a, b in pairwise(windows)} == {stride}


def test_each_word_is_in_one_window_where_it_has_most_context() -> None:
    for lengths, capacity, stride in cases(300):
        windows = word_windows(lengths, capacity, stride)
        assert [word for w in windows for word in range(w.first, w.last)] == list(range(len(lengths)))
        assert all(sum(lengths[w.start : w.end]) <= capacity for w in windows)

        def context(w: Window, word: int, lengths: list[int] = lengths) -> int:
            return min(sum(lengths[w.start : word]), sum(lengths[word + 1 : w.end]))

        for own in windows:
            for word in range(own.first, own.last):
                assert context(own, word) == max(context(w, word) for w in windows if w.start <= word < w.end)


def test_windows_share_as_much_as_asked_where_words_allow_it() -> None:
    for lengths, capacity, stride in cases(300):
        windows = word_windows(lengths, capacity, stride)
        for before, after in pairwise(windows):
            shared = sum(lengths[after.start : before.end])
            longest = max(lengths)
            assert shared <= stride
            assert shared > min(stride, capacity - longest) - longest
