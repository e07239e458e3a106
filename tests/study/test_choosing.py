"""How far chance decides a choice: its variance, the rows that would make it sure, and what the report says of it."""

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ftlit.study.plan.cells import Plan
from ftlit.study.report.content.design import design
from ftlit.study.report.content.numbers import Numbers, gather
from ftlit.study.report.content.warnings import warnings
from ftlit.study.selection.chance import Lead, choice_variance, lead
from ftlit.study.selection.choices import chance_choices, selection_variance, tried_settings
from ftlit.study.statistics.runs import Evidence, per_seed
from ftlit.util.render.document import Text
from tests.support.study.synthetic import made

LR = "model.optimizer.init_args.lr"
RATES = [1e-4, 3e-4, 1e-3]
NOTHING = pytest.approx(0, abs=1e-20)


def accuracy(*runs: np.ndarray) -> Evidence:
    """The evidence of runs that are right or wrong about each example."""
    counts = np.stack([np.stack([right, np.ones_like(right)], axis=-1) for right in runs])
    return Evidence(counts, lambda sums: sums[..., 0] / sums[..., 1])


def right(examples: int, first: int, last: int) -> np.ndarray:
    """An answer for each example, right from one place to another."""
    places = np.arange(examples)
    return ((places >= first) & (places < last)).astype(int)


ONE, OTHER = right(200, 0, 120), right(200, 85, 200)  # 0.6 and 0.575, right about different examples


def standard_error(one: np.ndarray, other: np.ndarray) -> float:
    return float((one - other).std() / sqrt(len(one)))


def test_the_variance_is_that_of_a_coin_with_the_chance_of_the_other_choice() -> None:
    difference = 0.025
    other = norm.cdf(-difference / standard_error(ONE, OTHER))
    expected = other * (1 - other) * difference**2
    assert choice_variance([accuracy(ONE), accuracy(OTHER)], lower=False) == pytest.approx(expected, rel=0.06)
    assert choice_variance([accuracy(OTHER), accuracy(ONE)], lower=True) == pytest.approx(expected, rel=0.06)


def test_seeds_that_differ_make_a_choice_less_sure() -> None:
    sure = [accuracy(right(200, 0, 180)), accuracy(right(200, 0, 100))]
    assert choice_variance(sure, lower=False) == NOTHING
    other = norm.cdf(-0.4 / sqrt(0.08 + standard_error(right(200, 0, 180), right(200, 0, 100)) ** 2))
    assert choice_variance(sure, lower=False, deviation=0.2) == pytest.approx(other * (1 - other) * 0.16, rel=0.1)


def test_a_choice_between_equals_costs_nothing() -> None:
    assert choice_variance([accuracy(right(50, 0, 30)), accuracy(right(50, 10, 40))], lower=False) == NOTHING
    assert choice_variance([accuracy(ONE)], lower=False) == 0
    assert choice_variance([accuracy(ONE), per_seed([float("nan")])], lower=False) == 0


def test_settings_are_ranked_by_their_means_over_seeds() -> None:
    settings = [accuracy(ONE, OTHER), accuracy(OTHER, OTHER)]
    assert 0 < choice_variance(settings, lower=False) <= 0.0125**2 / 4


def test_only_seeds_are_known_of_a_loss() -> None:
    losses = [per_seed([0.3]), per_seed([0.4])]
    assert choice_variance(losses, lower=True) == NOTHING
    assert choice_variance(losses, lower=True, deviation=100.0) == pytest.approx(0.05**2, rel=0.01)


def test_rows_that_tell_two_settings_apart() -> None:
    found = lead(accuracy(ONE), accuracy(OTHER))
    assert found.difference == pytest.approx(0.025)
    assert found.error == pytest.approx(standard_error(ONE, OTHER), rel=0.06)
    assert found.by_chance
    rows = round(found.rows_needed)
    drawn = np.random.default_rng(0).choice(ONE - OTHER, size=(400, rows))
    seen = (drawn.mean(1) > 1.96 * drawn.std(1) / sqrt(rows)).mean()
    assert seen == pytest.approx(0.8, abs=0.05)
    assert not lead(accuracy(right(200, 0, 180)), accuracy(right(200, 0, 100))).by_chance
    assert Lead(0.0, 0.0, 50).rows_needed == float("inf")
    assert not Lead(0.0, 0.0, 50).by_chance  # the same answers


def report(path: Path, **select: Any) -> Numbers:
    return gather(*made(path, 400, **{"select": {"over": {LR: RATES}, **select}}))


def said(numbers: Numbers) -> list[str]:
    return [text for text in warnings(numbers) if text.startswith("Validation is too small")]


def variance(numbers: Numbers) -> dict[str, float]:
    return selection_variance(numbers.plan, numbers.arms, numbers.tried, numbers.lower)


def test_a_report_says_where_chance_chose_and_what_it_costs(tmp_path: Path) -> None:
    numbers = report(tmp_path, nested=False)
    (text,) = said(numbers)
    assert "LoRA (about 710 rows instead of 200)" in text
    assert "Frozen" not in text
    found = variance(numbers)
    assert list(found) == ["Full", "LoRA", "BitFit", "Frozen"]
    assert all(0 < value < 0.03**2 for value in found.values())
    words = design(numbers).parts[1]
    assert isinstance(words, Text)
    assert "once for all of its seeds" in words.text


def test_the_spread_over_seeds_has_the_choice_in_it_already(tmp_path: Path) -> None:
    numbers = report(tmp_path)
    assert variance(numbers) == {}
    assert "LoRA (3 of 3 seeds, about" in said(numbers)[0]
    words = design(numbers).parts[1]
    assert isinstance(words, Text)
    assert "the spread over seeds includes the effect of the choice" in words.text
    assert "3 trials for every seed of every arm" in words.text


def test_of_halving_the_last_round_with_a_choice_counts(tmp_path: Path) -> None:
    base = {"model": {"class_path": "TextClassification", "init_args": {"tuning": "Full"}},
            "data": {"class_path": "TextClassificationData"}, "trainer": {"max_epochs": 3}}  # fmt: skip
    numbers = gather(*made(tmp_path, 100, base=base, select={"over": {LR: RATES}, "method": "halving", "nested": False}))
    assert [len(one.settings) for (one,) in numbers.tried.values()] == [3] * 4  # a single one is left in full length
    assert list(variance(numbers)) == ["Full", "LoRA", "BitFit", "Frozen"]


def test_nothing_is_tried_without_a_selection(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 40, select=None)
    numbers = gather(plan, folder)
    assert isinstance(plan, Plan)
    assert tried_settings(plan, numbers.arms, lower=False) == {}
    assert variance(numbers) == {}
    assert chance_choices({}) == []
