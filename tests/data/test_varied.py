"""Augmentation, label noise and re-balancing: on train alone, seeded, counted, and part of the run's fingerprint."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.data import RandomDeletion, RandomSwap, TextClassificationData
from ftlit.data.shared.summary import data_report, data_text
from ftlit.errors import UserError
from tests.support.data import sentiment_rows, write_splits

Tiny = Callable[[str], str]


def data_of(tiny: Tiny, folder: str, **options: Any) -> TextClassificationData:
    data = TextClassificationData(dataset=folder, backbone=tiny("bert"), **options)
    data.setup()
    return data


def test_augmentation_adds_copies_to_train_alone(tiny: Tiny, sentiment: str) -> None:
    plain = data_of(tiny, sentiment)
    more = data_of(tiny, sentiment, augment=[RandomDeletion(0.3), RandomSwap(0.3)], augmented_copies=2)
    assert more.fingerprints["validation"] == plain.fingerprints["validation"]
    assert more.rows["train"][: len(plain.rows["train"])] == plain.rows["train"][:]
    added = len(more.rows["train"]) - len(plain.rows["train"])
    assert 0 < added <= 2 * len(plain.rows["train"])
    assert len(more.encoded["train"]) == len(more.rows["train"])
    report = data_report(more)
    assert report["splits"]["train"]["counts"] == {"augmented copies": added}
    assert f"train: {added} augmented copies" in data_text(report)


def test_augmentation_follows_the_seed_of_the_data(tiny: Tiny, sentiment: str) -> None:
    first, same, other = (data_of(tiny, sentiment, augment=[RandomSwap()], seed=seed) for seed in (1, 1, 2))
    assert first.fingerprints["train"] == same.fingerprints["train"] != other.fingerprints["train"]


def test_label_noise_is_exact_and_leaves_the_other_splits_alone(tiny: Tiny, sentiment: str) -> None:
    plain, noisy = data_of(tiny, sentiment), data_of(tiny, sentiment, label_noise=0.25)
    pairs = list(zip(plain.encoded["train"]["labels"], noisy.encoded["train"]["labels"], strict=True))
    wrong = sum(a != b for a, b in pairs)
    assert wrong == round(0.25 * len(pairs))
    assert noisy.counts("train") == {"labels made wrong": wrong}
    assert noisy.fingerprints["validation"] == plain.fingerprints["validation"]
    with pytest.raises(UserError, match=r"data\.label_noise needs one label a text"):
        data_of(tiny, sentiment, label_noise=0.25, multi_label=True)


def test_rebalancing_makes_the_classes_equal(tiny: Tiny, sentiment: str) -> None:
    noisy = data_of(tiny, sentiment, label_noise=0.0, rebalance=True, limit_train=13)
    counts = Counter(noisy.encoded["train"]["labels"])
    assert len(set(counts.values())) == 1
    assert noisy.label_counts[:-1] == [counts[0], counts[1]]
    with pytest.raises(UserError, match=r"data\.rebalance needs one label a text"):
        data_of(tiny, sentiment, rebalance=True, multi_label=True)


def test_classes_are_equal_after_augmentation_and_copies_keep_their_ids(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": f"word{i} word{i + 1} word{i + 2}", "label": "bad" if i < 4 else "good"} for i in range(20)]
    folder = write_splits(tmp_path, {"train": rows, "validation": sentiment_rows(20, 1)})
    train = data_of(tiny, folder, augment=[RandomSwap()], rebalance=True).rows["train"]
    assert set(Counter(train["label"]).values()) == {32}
    texts: dict[str, set[str]] = {}
    for row in train:
        texts.setdefault(row["row_id"], set()).add(row["text"])
    assert len(texts) == 40
    assert all(len(found) == 1 for found in texts.values())


def test_an_unknown_label_is_named_before_noise_meets_it(tiny: Tiny, tmp_path: Path) -> None:
    rows = [*sentiment_rows(20, 0), {"text": "word1", "label": "ugly"}]
    folder = write_splits(tmp_path, {"train": rows, "validation": sentiment_rows(20, 1)})
    with pytest.raises(UserError, match=r"train row 21: label 'ugly' is never in data\.label_names"):
        data_of(tiny, folder, label_names=["bad", "good"], label_noise=0.5)
