"""Label noise and oversampling: exact counts, decided by the seed alone."""

from collections import Counter

import pytest

from ftlit.data.rows.label_noise import balanced, noisy_labels
from ftlit.errors import UserError

NAMES = ["a", "b", "c", "d"]
LABELS: list[int | str] = [NAMES[i % 3] for i in range(1000)]  # d is never right


def wrong(labels: list[int | str], noisy: list[int | str]) -> list[int]:
    return [i for i, (old, new) in enumerate(zip(labels, noisy, strict=True)) if old != new]


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (0.001, 1), (0.2004, 200), (0.5, 500), (1.0, 1000)])
def test_exactly_the_rate_is_wrong(rate: float, count: int) -> None:
    noisy = noisy_labels(LABELS, NAMES, rate, seed=0)
    assert len(wrong(LABELS, noisy)) == count
    assert set(noisy) <= set(NAMES)


def test_other_classes_are_alike_likely() -> None:
    labels: list[int | str] = ["b"] * 3000
    counts = Counter(noisy_labels(labels, NAMES, 1.0, seed=0))
    assert counts.keys() == {"a", "c", "d"}
    assert all(abs(count - 1000) < 130 for count in counts.values())  # five standard deviations


def test_ids_are_changed_as_names_are() -> None:
    ids: list[int | str] = [NAMES.index(str(label)) for label in LABELS]
    by_name = noisy_labels(LABELS, NAMES, 0.3, seed=1)
    assert noisy_labels(ids, NAMES, 0.3, seed=1) == [NAMES.index(str(label)) for label in by_name]


def test_seed_decides_and_the_given_labels_stay() -> None:
    given = list(LABELS)
    first, again, other = (noisy_labels(LABELS, NAMES, 0.3, seed) for seed in (0, 0, 1))
    assert first == again
    assert wrong(LABELS, first) != wrong(LABELS, other)
    assert given == LABELS


def test_rows_are_drawn_from_all_and_lower_rates_are_part_of_higher_ones() -> None:
    low, high = (noisy_labels(LABELS, NAMES, rate, seed=0) for rate in (0.1, 0.4))
    rows = wrong(LABELS, low)
    assert rows[0] < 100
    assert rows[-1] > 900
    assert all(high[i] == low[i] for i in rows)


@pytest.mark.parametrize(
    ("labels", "names", "rate", "message"),
    [
        (["a"], NAMES, 1.5, "data.label_noise must be from 0 to 1, got 1.5"),
        (["a"], ["a"], 0.5, "label noise needs two classes or more, the data have 1"),
        (["a", "good"], ["god", "bad"], 0.5, "row 1 has the label 'a', which is not a class. There are: god, bad."),
        (["bad", "good"], ["god", "bad"], 0.5, "row 2 has the label 'good', which is not a class. Did you mean 'god'?"),
        ([0, 4], NAMES, 0.5, "row 2 has the label 4, but the 4 classes count from 0 to 3"),
    ],
)
def test_noise_that_cannot_be(labels: list[int | str], names: list[str], rate: float, message: str) -> None:
    with pytest.raises(UserError) as error:
        noisy_labels(labels, names, rate, seed=0)
    assert str(error.value) == message


def test_every_class_has_as_many_rows_as_the_largest() -> None:
    classes = ["x"] * 70 + ["y"] * 30 + ["z"] * 9 + ["x"] * 3
    rows = balanced(classes, seed=0)
    assert Counter(classes[i] for i in rows) == {"x": 73, "y": 73, "z": 73}
    times = Counter(rows)
    for name, counts in {"x": {1}, "y": {2, 3}, "z": {8, 9}}.items():
        assert {times[i] for i in range(len(classes)) if classes[i] == name} == counts


def test_originals_come_first_in_order() -> None:
    classes = [0] * 5 + [1] * 2
    rows = balanced(classes, seed=0)
    assert rows[:7] == list(range(7))
    assert set(rows[7:]) == {5, 6}
    assert balanced([0, 1, 0, 1], seed=0) == [0, 1, 2, 3]
    assert balanced([], seed=0) == []


def test_seed_decides_which_rows_come_once_more() -> None:
    classes = ["x"] * 50 + ["y"] * 40
    assert balanced(classes, 0) == balanced(classes, 0)
    assert set(balanced(classes, 0)[90:]) != set(balanced(classes, 1)[90:])
