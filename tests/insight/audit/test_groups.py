"""Groups of rows by the values of a column, and metrics that are no shares."""

import numpy as np
import pytest

from ftlit.errors import UserError
from ftlit.insight.audit.rows.groups import _Column, _verdict, grouper
from ftlit.insight.audit.statistics import normal_ends, resampled
from ftlit.metrics.evidence import EVIDENCE_KINDS


def test_values_are_groups_and_many_numbers_are_ranges() -> None:
    name = grouper(["a", None, "", 2, float("nan")], "x")
    assert [name(value) for value in ("a", None, "", 2, float("nan"))] == ["a", "(none)", "(none)", "2", "(none)"]
    assert {grouper(range(12), "x")(value) for value in range(12)} == {str(i) for i in range(12)}
    name = grouper([*range(100), None], "x")
    groups = [name(value) for value in range(100)]
    assert sorted({group: groups.count(group) for group in groups}.values()) == [25, 25, 25, 25]
    assert (name(None), name(-5), name(1000)) == ("(none)", name(0), name(99))  # rows of train beyond those of the split


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a", "a"], "'x' is 'a' in all rows"),
        ([str(i) for i in range(101)], "'x' has 101 different values in 101 rows; at most 100"),
    ],
)
def test_columns_without_groups(values: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        grouper(values, "x")


def test_a_metric_that_is_no_share_is_resampled() -> None:
    """The macro F1 of each group is that of its rows alone; of rows with the same errors, the gap is open."""
    rng = np.random.default_rng(0)
    rows = [{"label": "ab"[i % 2], "prediction": "ab"[(i + (rng.random() < 0.2)) % 2]} for i in range(300)]
    rows = [{**row, "prediction": "a"} if i % 3 == 0 else row for i, row in enumerate(rows)]
    names = ["bad" if i % 3 == 0 else "fine" if i % 3 == 1 else "good" for i in range(300)]
    count = EVIDENCE_KINDS["labels"].count
    sums = count("f1_macro", [rows], {})
    assert sums is not None
    found = {group: (size, numbers) for group, size, numbers in _Column(sums, names, (np.arange(300), 300), 20, 0.05).rows()}
    for group, (size, (value, low, high, gap, *ends)) in found.items():
        own = [row for row, name in zip(rows, names, strict=True) if name == group]
        alone = count("f1_macro", [own], {})
        assert alone is not None
        assert (size, value) == (100, pytest.approx(float(alone.score(alone.counts[0].sum(0)))))
        assert low < value < high
        assert ends[0] < gap < ends[1]
    verdicts = {group: _verdict(numbers[-2:], True) for group, (_, numbers) in found.items()}
    assert verdicts["bad"] == "worse"
    assert "worse" not in (verdicts["fine"], verdicts["good"])


def test_resamples_have_the_same_rows_for_all_groups() -> None:
    rows = [{"label": "ab"[i % 2], "prediction": "a"} for i in range(40)]
    sums = EVIDENCE_KINDS["labels"].count("accuracy", [rows], {})
    assert sums is not None
    everything = np.ones(40, dtype=bool)
    both = resampled(sums, [everything, everything], np.arange(40), 40)
    assert (both.drawn[:, 0] == both.drawn[:, 1]).all()
    assert np.isnan(normal_ends(0.0, both.drawn[:, 0] - both.drawn[:, 1], 0.05)).all()
    assert both.drawn[:, 0].std() == pytest.approx(np.sqrt(0.25 / 40), rel=0.1)
