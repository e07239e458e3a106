"""Corrections for many comparisons against statsmodels, and letters of groups on worked examples."""

import re
from itertools import combinations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ftlit.study.statistics.compare import Comparison
from ftlit.study.statistics.multiplicity import Correction, adjust, groups, is_all_pairs


@pytest.mark.parametrize(("correction", "name"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrections_are_statsmodels(correction: Correction, name: str) -> None:
    rng = np.random.default_rng(17)
    for p in (rng.uniform(0, 1, 20) ** 3, rng.uniform(0, 0.2, 7), np.array([0.01, 0.01, 1, 1, 0]), np.array([0.3])):
        assert adjust(p.tolist(), correction) == pytest.approx(multipletests(p, method=name)[1])
    assert adjust([], correction) == []


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert adjust(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust(p, "bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_shaffer_by_hand() -> None:
    """Of four arms, 6 pairs can be alike, then at most 3, since one arm that differs takes 3 pairs along."""
    assert adjust([0.001, 0.011, 0.012, 0.02, 0.03, 0.5], all_pairs=True) == pytest.approx(
        [0.006, 0.033, 0.036, 0.06, 0.06, 0.5]
    )
    assert adjust([0.02], all_pairs=True) == [0.02]
    assert is_all_pairs([("a", "b"), ("c", "a"), ("b", "c")])
    assert not is_all_pairs([("a", "b"), ("c", "a")])


def verdicts(*apart: str, arms: str = "abcd") -> list[Comparison]:
    """Comparisons of all pairs, of which some differ."""
    return [
        Comparison(one, other, 0, 0, 0, 0, 0, one + other in apart, None, 0, "none", 1, 0)
        for one, other in combinations(arms, 2)
    ]


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        ((), "a a a a"),
        (("ab", "ac", "ad", "bc", "bd", "cd"), "a b c d"),
        (("ad",), "a ab ab b"),
        (("ac", "ad", "bd"), "a ab bc c"),
        (("ab", "cd"), "ab cd ac bd"),
        (("ad", "bd", "cd"), "a a a b"),
    ],
)
def test_letters(apart: tuple[str, ...], expected: str) -> None:
    found = groups({"a": 4, "b": 3, "c": 2, "d": 1}, verdicts(*apart))
    assert list(found) == ["a", "b", "c", "d"]
    for one, other in combinations("abcd", 2):
        assert bool({*found[one]} & {*found[other]}) == (one + other not in apart)
    assert " ".join(found.values()) == expected


def test_letters_of_many_arms_say_just_what_the_comparisons_say() -> None:
    rng = np.random.default_rng(15)
    names = [f"{i:02}" for i in range(60)]
    means = dict(zip(names, rng.normal(0, 1, 60), strict=True))
    found = [
        Comparison(one, other, 0, 0, 0, 0, 0, far, None, 0, "none", 1, 0)
        for one, other in combinations(names, 2)
        for far in [bool(abs(means[one] - means[other]) > rng.uniform(0.2, 0.4))]
    ]
    letters = {name: {*re.findall(r"[a-z]\d*", text)} for name, text in groups(means, found).items()}
    assert all(letters.values())
    assert all(bool(letters[one.arm] & letters[one.other]) != one.different for one in found)
    assert "a" in letters[max(means, key=lambda name: means[name])]
