"""Slices: properties, statistics against SciPy and statsmodels, and the search on data whose slices are known."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import fisher_exact, t
from statsmodels.stats.proportion import confint_proportions_2indep

from experiments.insight.slices import World, outcome
from ftlit import find_slices
from ftlit.insight.errors.examples.inputs import text_numbers
from ftlit.insight.errors.slices.features import binned, column_feature, frame_features
from ftlit.insight.errors.slices.lattice import Lattice
from ftlit.insight.errors.slices.search import members
from ftlit.insight.errors.slices.statistics import contrasts
from ftlit.insight.errors.slices.table import slice_table

RNG = np.random.default_rng(0)


# Properties


def test_numbers_are_binned_at_their_quintiles() -> None:
    feature = binned("length", np.arange(1, 101, dtype=float), "words")
    assert feature.values == ["≤ 20 words", "> 20, ≤ 40 words", "> 40, ≤ 60 words", "> 60, ≤ 80 words", "> 80 words"]
    assert np.bincount(feature.codes).tolist() == [20] * 5
    assert feature.slice_name(0) == "length: ≤ 20 words"


def test_a_number_that_most_rows_share_has_fewer_bins() -> None:
    numbers = np.array([0.0] * 90 + list(range(1, 11)) + [np.nan])
    feature = binned("unknown", numbers)
    assert feature.values == ["≤ 0", "> 0"]
    assert np.bincount(feature.codes + 1).tolist() == [1, 90, 10]


def test_columns_of_a_csv_are_numbers_or_categories() -> None:
    years = column_feature("year", [str(2000 + i % 10) for i in range(50)])
    assert years is not None
    assert years.values[0] == "≤ 2001"
    source = column_feature("source", ["forum", "news", None, "", "news"])
    assert source is not None
    assert (list(source.values), source.codes.tolist()) == (["forum", "news"], [0, 1, -1, -1, 1])
    flag = column_feature("spam", [True, False, True])
    assert flag is not None
    assert list(flag.values) == ["False", "True"]


@pytest.mark.parametrize("values", [["a"] * 9, [f"text {i}" for i in range(300)], [["a"], ["b"]], [None, None]])
def test_columns_that_divide_nothing_are_left_out(values: list[object]) -> None:
    assert column_feature("column", values) is None


def test_what_is_counted_in_a_text() -> None:
    assert text_numbers("It isn't Bad") == (12, True, False, 0.5)
    assert text_numbers("In 2020 all went well") == (21, False, True, 0.0)
    assert text_numbers("我不喜欢")[1]
    assert not text_numbers("Notable knots")[1]


# Statistics


def test_right_and_wrong_have_the_tests_of_fisher_and_the_interval_of_newcombe() -> None:
    losses, codes = (RNG.random(200) < 0.2).astype(float), RNG.integers(-1, 3, 200)
    found = contrasts(losses, codes, 3, None, binary=True)
    for code in range(3):
        inside = codes == code
        wrong, others = losses[inside].sum(), losses[~inside].sum()
        table = [[wrong, inside.sum() - wrong], [others, (~inside).sum() - others]]
        more, fewer = (fisher_exact(table, side).pvalue for side in ("greater", "less"))
        assert found.p_worse[code] == pytest.approx(more)
        assert found.p[code] == pytest.approx(min(1, 2 * min(more, fewer)))
        ends = confint_proportions_2indep(wrong, inside.sum(), others, (~inside).sum(), method="newcomb")
        assert (found.low[code], found.high[code]) == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize("documents", [None, 40])
def test_other_losses_have_the_variance_of_whole_documents(documents: int | None) -> None:
    """As in a regression on the slice with statsmodels' variance of clusters, without its corrections of size."""
    groups = np.arange(300) if documents is None else RNG.integers(0, documents, 300)
    losses, codes = RNG.exponential(1, 300) + groups % 3, RNG.integers(-1, 2, 300)
    found = contrasts(losses, codes, 2, None if documents is None else groups, binary=False)
    count = len(np.unique(groups))
    for code in range(2):
        design = sm.add_constant((codes == code).astype(float))
        options = {"groups": np.unique(groups, return_inverse=True)[1], "use_correction": False}
        fit = sm.OLS(losses, design).fit(cov_type="cluster", cov_kwds=options)
        assert found.difference[code] == pytest.approx(fit.params[1])
        half = found.high[code] - found.difference[code]
        inside = len(np.unique(groups[codes == code]))
        outside = len(np.unique(groups[codes != code]))
        quantile = t.ppf(0.975, min(inside, outside) - 1)
        assert half / quantile == pytest.approx(fit.bse[1] * np.sqrt(count / (count - 1)))


def test_documents_widen_the_interval() -> None:
    groups = np.repeat(np.arange(30), 10)
    losses = np.repeat((RNG.random(30) < 0.3).astype(float), 10)
    codes = (np.arange(300) // 10 % 2).astype(int)
    alone, together = (contrasts(losses, codes, 2, given, binary=False) for given in (None, groups))
    assert (together.high - together.low > 2 * (alone.high - alone.low)).all()


def test_the_table_is_adjusted_and_begins_with_the_worst() -> None:
    source = np.array(["a", "b", "c", "d"])[np.arange(400) % 4]
    losses = np.where(source == "c", RNG.random(400) < 0.6, RNG.random(400) < 0.1).astype(float)
    table = slice_table(pd.DataFrame({"source": source, "noise": RNG.random(400)}), losses)
    assert table["slice"][0] == "source: c"
    assert table["size"][0] == 100
    assert table["difference"][0] == pytest.approx(losses[source == "c"].mean() - losses[source != "c"].mean())
    assert (table["p_adjusted"] >= table["p"]).all()
    assert table["p_adjusted"].is_monotonic_increasing
    assert slice_table(pd.DataFrame({"same": ["x"] * 400}), losses).empty


# Search


@pytest.mark.parametrize("seed", range(5))
def test_branch_and_bound_finds_what_trying_all_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = [rng.integers(-1, 4, 300) for _ in range(5)]
    losses, open_rows = rng.exponential(1, 300), rng.random(300) < 0.9
    excess = np.where(open_rows, losses - losses[open_rows].mean(), 0)

    def score(predicates: tuple[tuple[int, int], ...]) -> float:
        inside = np.logical_and.reduce([codes[i] == code for i, code in predicates]) & open_rows
        return excess[inside].sum() / np.sqrt(inside.sum()) if inside.sum() >= 8 else -np.inf

    everything = [
        tuple(zip(columns, values, strict=True))
        for size in (1, 2, 3)
        for columns in combinations(range(5), size)
        for values in product(range(4), repeat=size)
    ]
    found = Lattice(codes, least=8, most=3).worst(losses, open_rows)
    assert found is not None
    assert score(found) == pytest.approx(max(map(score, everything)))


def test_equal_losses_have_no_worst_slice() -> None:
    assert Lattice([np.zeros(50, dtype=int)], least=5, most=1).worst(np.ones(50), np.ones(50, dtype=bool)) is None


def test_two_planted_slices_are_both_found() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({name: rng.choice(list("abcde"), 4000) for name in ("one", "two", "three")})
    planted = [(frame["one"] == "a") & (frame["two"] == "b"), (frame["three"] == "e") & (frame["two"] == "c")]
    losses = (rng.random(4000) < np.where(planted[0] | planted[1], 0.5, 0.05)).astype(float)
    found = find_slices(frame, losses)
    confirmed = set(found[found["confirmed"]]["slice"])
    assert confirmed >= {"one: a and two: b", "two: c and three: e"}
    first = found[found["slice"] == "one: a and two: b"].iloc[0]
    assert first["size"] == planted[0].sum() == members(frame_features(frame), first["predicates"]).sum()
    assert first["low"] < 0.45 < first["high"]
    assert find_slices(frame, losses).equals(found)  # the halves have a seed


def test_few_or_equal_examples_have_no_slices() -> None:
    frame = pd.DataFrame({"one": list("ab") * 10})
    assert not find_slices(frame, np.ones(20))["confirmed"].any()
    assert not find_slices(frame.head(1), np.ones(1))["confirmed"].any()


def test_simulated_data_without_slices() -> None:
    assert sum(outcome(World("none", 2000), seed)[0] > 0 for seed in range(10)) <= 1


def test_simulated_data_with_a_slice() -> None:
    assert sum(outcome(World("some", 10_000, planted=2), seed)[1] for seed in range(4)) >= 3
