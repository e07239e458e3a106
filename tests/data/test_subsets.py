"""Cuts, limits and shots: seeded, stratified, in order."""

from collections import Counter

import pytest

from ftlit.data.rows.subsets import fold_numbers, shots, split_off, subsample
from ftlit.errors import UserError

CLASSES = ["a"] * 60 + ["b"] * 30 + ["c"] * 10


def test_cut_has_every_class_in_its_share() -> None:
    stay, off = split_off(CLASSES, 100, 0.1, seed=0)
    assert sorted(stay + off) == list(range(100))
    assert (stay, off) == (sorted(stay), sorted(off))
    assert Counter(CLASSES[i] for i in off) == {"a": 6, "b": 3, "c": 1}


def test_cut_leaves_and_takes_some_of_each_class() -> None:
    few = ["a", "a", "b", "b", "b"]
    for share in (0.01, 0.99):
        for part in split_off(few, 5, share, seed=0):
            assert {few[i] for i in part} == {"a", "b"}


def test_class_of_one_row_stays_in_train() -> None:
    stay, off = split_off(["a"] * 9 + ["b"], 10, 0.5, seed=0)
    assert 9 in stay
    assert 9 not in off


def test_plain_cut() -> None:
    stay, off = split_off(None, 50, 0.2, seed=3)
    assert sorted(stay + off) == list(range(50))
    assert len(off) == 10


def test_seed_decides() -> None:
    assert split_off(CLASSES, 100, 0.1, 0) == split_off(CLASSES, 100, 0.1, 0) != split_off(CLASSES, 100, 0.1, 1)
    assert subsample(100, 9, 0) == subsample(100, 9, 0) != subsample(100, 9, 1)
    assert shots(CLASSES, 4, 0) == shots(CLASSES, 4, 0) != shots(CLASSES, 4, 1)


def test_limit_is_random_and_in_order() -> None:
    chosen = subsample(100, 20, 0)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 20
    assert max(chosen) > 50
    assert set(subsample(100, 10, 0)) < set(chosen)  # a smaller limit is a part of a larger one


def test_shots_of_each_class() -> None:
    chosen = shots(CLASSES, 10, 0)
    assert chosen == sorted(chosen)
    assert Counter(CLASSES[i] for i in chosen) == {"a": 10, "b": 10, "c": 10}


def test_too_few_rows_for_the_shots() -> None:
    with pytest.raises(UserError, match=r"data.shots is 11, but the label 'c' has 10 rows in train"):
        shots(CLASSES, 11, 0)


def test_folds_have_every_class_in_its_share() -> None:
    folds = fold_numbers(CLASSES, None, 100, 4, seed=0)
    assert Counter(folds.tolist()) == {0: 25, 1: 25, 2: 25, 3: 25}
    for fold in range(4):
        counts = Counter(CLASSES[i] for i in range(100) if folds[i] == fold)
        assert counts["a"] == 15
        assert {counts["b"], counts["c"]} <= {2, 3, 7, 8}
    assert (folds == fold_numbers(CLASSES, None, 100, 4, seed=0)).all()
    assert (folds != fold_numbers(CLASSES, None, 100, 4, seed=1)).any()


def test_folds_keep_documents_whole() -> None:
    documents = [f"d{i // 7}" for i in range(70)]
    folds = fold_numbers(None, documents, 70, 5, seed=0)
    assert Counter(folds.tolist()) == dict.fromkeys(range(5), 14)
    assert all(len(set(folds[7 * i : 7 * i + 7])) == 1 for i in range(10))
