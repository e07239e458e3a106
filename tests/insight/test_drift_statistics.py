"""The tests and estimates of `ftlit drift` on simulated rows: false alarms, power, planted quantities."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from ftlit.exports.predicting.predictor import Encoded
from ftlit.insight.drift import permutation
from ftlit.insight.drift.accuracy import METHODS, Scored, expected_accuracy, from_confidence, known_shift, scored, thresholded
from ftlit.insight.drift.comparison import AUC, EXPLAINED, Pair, distances, embedding_test, text_tests, vocabulary
from ftlit.insight.drift.embeddings import explained_share, nearest, principal_components, separability
from ftlit.insight.drift.known_shifts import Misspelling, known_shifts
from ftlit.insight.drift.permutation import (
    ShiftTest,
    Statistic,
    corrected,
    distribution_distance,
    mix_distance,
    shift_test,
)
from ftlit.insight.drift.prior import label_prior
from ftlit.insight.drift.samples import Sample, drawn
from ftlit.insight.drift.texts import log_odds, mix, scripts, words
from tests.support.data import NEUTRAL
from tests.support.models import tiny_tokenizer

Rng = np.random.Generator
FEW = 99  # divisions of the rows in simulations, which a test of 5% is exact with, too
ENOUGH = 399  # of which corrected p-values of six tests can be below 5%


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "DRAWS", FEW)


def own(reference: int, new: int) -> np.ndarray:
    return (np.arange(reference + new) >= reference)[None]


# Statistics


def test_the_distance_of_distributions_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.poisson(5, 40), rng.poisson(7, 70)])  # with ties
    found = distribution_distance(values)(own(40, 70))[0]
    assert found == pytest.approx(ks_2samp(values[:40], values[40:]).statistic)


def test_the_distance_of_mixes_is_half_the_differences_of_shares() -> None:
    counts = np.array([[2, 0, 0], [0, 2, 0], [1, 0, 1], [0, 0, 2]])  # shares 1/2, 1/2, 0 and 1/4, 0, 3/4
    assert mix_distance(counts)(own(2, 2))[0] == pytest.approx((0.25 + 0.5 + 0.75) / 2)
    assert mix_distance(np.zeros((4, 2)))(own(2, 2))[0] == 0


def test_a_classifier_separates_as_well_as_a_discriminant_that_is_fitted_by_hand() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 5)).astype(np.float32)
    points[300:, 2] += 1.0
    found = separability(points)(own(300, 300))[0]
    labels = own(300, 300)[0]
    order = np.random.default_rng(0).permutation(600)
    wins = []
    for test in np.array_split(order, 5):
        train = np.setdiff1d(order, test)
        model = LinearDiscriminantAnalysis(solver="lsqr").fit(points[train], labels[train])
        wins.append(roc_auc_score(labels[test], model.decision_function(points[test])))
    assert found == pytest.approx(np.mean(wins), abs=0.01)
    assert found == pytest.approx(0.76, abs=0.03)  # of a distance of one standard deviation


def test_the_explained_share_is_the_adjusted_r_squared_of_the_kernel() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    points[30:] += 1.0
    squares = ((points[:, None] - points) ** 2).sum(-1)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(50, 1)]))
    within = sum(len(part) * (1 - kernel[np.ix_(part, part)].mean()) for part in (np.arange(30), np.arange(30, 50)))
    expected = 1 - (within / 48) / (50 * (1 - kernel.mean()) / 49)
    assert explained_share(points)(own(30, 20))[0] == pytest.approx(expected, abs=1e-4)
    same = explained_share(rng.normal(size=(200, 3)).astype(np.float32))(own(100, 100))[0]
    assert abs(same) < 0.02


def test_equal_rows_are_no_shift() -> None:
    points = principal_components(np.ones((60, 4), dtype=np.float32))
    assert separability(points)(own(30, 30))[0] == pytest.approx(0.5)
    assert explained_share(points)(own(30, 30))[0] < 0.01
    assert shift_test("x", "x", 0.6, separability(points), 30, 30).p == 1


# False alarms and power of each test


def normal(rng: Rng, rows: int) -> np.ndarray:
    return rng.normal(size=(rows, 6)).astype(np.float32)


def counts(rng: Rng, rows: int) -> np.ndarray:
    return rng.multinomial(7, [0.5, 0.3, 0.2], size=rows)


STATISTICS: dict[str, tuple[Callable[[Rng, int], np.ndarray], Callable[[np.ndarray], Statistic]]] = {
    "distributions": (lambda rng, rows: rng.poisson(4, rows), distribution_distance),
    "mixes": (counts, mix_distance),
    "classifier": (normal, separability),
    "mmd": (normal, explained_share),
}


def false_alarms(name: str, times: int) -> int:
    draw, statistic = STATISTICS[name]
    found = 0
    for i in range(times):
        rows = draw(np.random.default_rng([i, 1]), 70)
        found += shift_test(name, "", 0, statistic(rows), 40, 30, seed=i).p <= 0.05
    return found


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("name", STATISTICS)
def test_false_alarms(name: str) -> None:
    assert false_alarms(name, 60) <= 7  # 3 are expected, and more than 7 have a probability of 2%


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("name", STATISTICS)
def test_false_alarms_in_many_simulations(name: str) -> None:
    assert false_alarms(name, 1000) <= 64  # 50 are expected, with a standard deviation of 7


@pytest.mark.parametrize("statistic", [separability, explained_share])
def test_a_planted_shift_of_embeddings_is_found(statistic: Callable[[np.ndarray], Statistic]) -> None:
    for seed in range(5):
        points = normal(np.random.default_rng(seed), 400)
        points[200:] += 0.3
        assert shift_test("x", "x", 0, statistic(points), 200, 200).p <= 0.01


@pytest.mark.usefixtures("few_draws")
def test_a_small_p_alone_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=20000)
    values[10000:] += 0.06
    [found] = corrected([shift_test("x", "x", 0.1, distribution_distance(values), 10000, 10000)])
    assert found.adjusted == 0.01
    assert not found.differs
    assert replace(found, least=0.02).differs


def test_p_values_are_corrected_for_their_number() -> None:
    tests = [ShiftTest(name, "", 1.0, 0.1, 0.5, p) for name, p in (("a", 0.02), ("b", 0.04), ("c", 0.01), ("d", 0.5))]
    assert [test.adjusted for test in corrected(tests)] == pytest.approx([0.06, 0.08, 0.04, 0.5])
    assert [test.differs for test in corrected(tests)] == [False, False, True, False]


# All tests of two samples


def sample(rng: Rng, rows: int, vocabulary: list[str], length: float = 12, moved: float = 0.0) -> Sample:
    """Texts of words from a vocabulary, and normal states."""
    texts = [" ".join(rng.choice(vocabulary, size=1 + rng.poisson(length))) for _ in range(rows)]
    ids = tiny_tokenizer()(texts)["input_ids"]
    encoded = Encoded(list(range(rows)), {"input_ids": ids, "row": list(range(rows)), "truncated": [False] * rows}, [])
    states = rng.normal(size=(rows, 8)) + moved
    return Sample([{"text": text} for text in texts], texts, encoded, states.astype(np.float32), rows)


def compared(seed: int, new: Callable[[Rng], Sample], rows: int = 60) -> list[ShiftTest]:
    rng = np.random.default_rng(seed)
    known, reference = sample(rng, 30, NEUTRAL), sample(rng, rows, NEUTRAL)
    pair = Pair(known, reference, new(rng), seed)
    return corrected([*text_tests(pair, tiny_tokenizer()), embedding_test(pair, "classifier")])


def test_false_alarms_of_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of samples so small that all effects are large enough to count."""
    monkeypatch.setattr(permutation, "DRAWS", ENOUGH)
    found = [compared(seed, lambda rng: sample(rng, 50, NEUTRAL)) for seed in range(15)]
    assert sum(any(test.adjusted < 0.05 for test in tests) for tests in found) <= 2


@pytest.mark.slow
def test_false_alarms_of_the_verdict_in_many_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "DRAWS", ENOUGH)
    found = [compared(seed, lambda rng: sample(rng, 50, NEUTRAL)) for seed in range(500)]
    assert sum(any(test.adjusted < 0.05 for test in tests) for tests in found) <= 35  # 25 are expected at most


PLANTED: dict[str, Callable[[Rng], Sample]] = {
    "length in words": lambda rng: sample(rng, 60, NEUTRAL, length=20),
    "length in tokens": lambda rng: sample(rng, 60, NEUTRAL, length=20),
    "words that train lacks": lambda rng: sample(rng, 60, [*NEUTRAL, *(f"other{i}" for i in range(20))]),
    "scripts": lambda rng: sample(rng, 60, [*NEUTRAL, *(["слово"] * 9)]),
    "unknown tokens": lambda rng: sample(rng, 60, [*NEUTRAL, *(f"other{i}" for i in range(20))]),
    "embeddings": lambda rng: sample(rng, 60, NEUTRAL, moved=0.7),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_shifts(name: str) -> None:
    found = {test.name: test for test in compared(0, PLANTED[name])}
    assert found[name].differs
    assert found[name].effect > found[name].chance
    if name == "embeddings":
        assert [test.name for test in found.values() if test.differs] == ["embeddings"]


def test_the_effects_that_count() -> None:
    """Two standard deviations apart in one of eight directions is a shift; the same distribution is none."""
    rng = np.random.default_rng(0)
    same, other = (Pair(*(sample(rng, 200, NEUTRAL, moved=moved) for moved in (0, 0, new)), 0) for new in (0.0, 0.7))
    assert embedding_test(same, "classifier").effect < AUC < embedding_test(other, "classifier").effect
    assert embedding_test(same, "mmd").effect < EXPLAINED < embedding_test(other, "mmd").effect


# Texts


def test_words_and_scripts() -> None:
    assert words("Don't stop, 世界! Ёлка №7") == ["don", "t", "stop", "世", "界", "ёлка", "7"]
    assert scripts("abc def, 世界 Ёлка かな カナ 12 🙂 \u0939\u093f") == {
        "Latin": 6, "Han": 2, "Cyrillic": 4, "Kana": 4, "Devanagari": 1,
    }  # fmt: skip
    kinds, counted = mix([Counter({"Latin": 3}), Counter({"Han": 5}), Counter()])
    assert kinds == ["Han", "Latin"]
    assert counted.tolist() == [[0, 3], [5, 0], [0, 0]]


def test_log_odds_by_hand() -> None:
    """Monroe et al. (2008), equations 16, 20 and 22."""
    old, new = Counter({"a": 90, "b": 10}), Counter({"a": 40, "b": 50, "c": 10})
    over, under = log_odds(old, new, 3)
    size = 0.1 * 100  # a tenth of the words of either
    prior = {"a": size * 130 / 200, "b": size * 60 / 200, "c": size * 10 / 200}

    def z(term: str) -> float:
        odds = [np.log((count[term] + prior[term]) / (100 + size - count[term] - prior[term])) for count in (new, old)]
        return (odds[0] - odds[1]) / np.sqrt(sum(1 / (count[term] + prior[term]) for count in (new, old)))

    assert [term.term for term in over] == ["b", "c"]
    assert [term.term for term in under] == ["a"]
    assert {term.term: term.z for term in (*over, *under)} == pytest.approx({term: z(term) for term in "abc"})
    assert (over[0].reference, over[0].new) == (10, 50)
    assert log_odds(Counter("a"), Counter("a"), 3) == ([], [])


def test_a_planted_word_is_ranked_first() -> None:
    rng = np.random.default_rng(0)
    known, reference = (sample(rng, 100, NEUTRAL) for _ in range(2))
    new = sample(rng, 100, [*NEUTRAL[1:], "good", "good", "good"])
    found = vocabulary(Pair(known, reference, new, 0), tiny_tokenizer())
    for kind in ("words", "tokens"):
        over, under = found[kind]
        assert over[0].term == "good"
        assert under[0].term == NEUTRAL[0]


def test_the_nearest_rows_of_train() -> None:
    """Distances are root mean squares in standard deviations, which are 1 and 3 here."""
    states = np.array([[-1, -3], [-1, 3], [1, -3], [1, 3]], dtype=np.float32) + 7
    found, places = nearest(np.array([[8, 10], [6, 7.5]], dtype=np.float32), states)
    assert places.tolist() == [3, 1]
    assert found == pytest.approx([0, np.sqrt((2.5 / 3) ** 2 / 2)], abs=1e-5)


def test_rows_unlike_train_come_first() -> None:
    rng = np.random.default_rng(0)
    known, reference, new = (sample(rng, 100, NEUTRAL) for _ in range(3))
    new.states[17] = -3
    found = distances(Pair(known, reference, new, 0))
    assert found.farthest[0].text == new.texts[17]
    assert 0 < found.share < 0.2


def test_rows_are_drawn_evenly() -> None:
    kept, total = drawn(iter("abc"), 5, 0)
    assert (kept, total) == ([(0, "a"), (1, "b"), (2, "c")], 3)
    times = Counter(number for seed in range(2000) for number, _ in drawn(range(10), 3, seed)[0])
    assert all(abs(count - 600) < 100 for count in times.values())  # a standard deviation is 20


# Shares of the labels


def predictions(rng: Rng, shares: list[float], rows: int, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true labels as boolean matrices, given the share of each prediction among the rows of each label."""
    true = rng.choice(len(shares), size=rows, p=shares)
    said = np.array([rng.choice(len(shares), p=matrix[:, label]) for label in true])
    places = np.arange(len(shares))
    return said[:, None] == places, true[:, None] == places


MATRIX = np.array([[0.8, 0.15, 0.1], [0.1, 0.7, 0.2], [0.1, 0.15, 0.7]])


def test_a_planted_prior_is_recovered() -> None:
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        said, true = predictions(rng, [0.4, 0.3, 0.3], 600, MATRIX)
        new, _ = predictions(rng, [0.1, 0.6, 0.3], 600, MATRIX)
        found = label_prior("abc", said, true, new, False, "validation")
        assert found.problem == ""
        assert sum(share.estimate or 0 for share in found.shares) == pytest.approx(1)
        first = found.shares[0]
        assert first.estimate == pytest.approx(0.1, abs=0.12)
        assert first.interval is not None
        covered += first.interval[0] <= 0.1 <= first.interval[1]
        assert first.predicted == pytest.approx(0.1 * 0.8 + 0.6 * 0.15 + 0.3 * 0.1, abs=0.06)  # far from the true share
    assert covered >= 26


def test_a_matrix_that_cannot_be_inverted() -> None:
    rng = np.random.default_rng(0)
    said, true = predictions(rng, [0.5, 0.5], 200, np.array([[0.6, 0.6], [0.4, 0.4]]))
    found = label_prior(["yes", "no"], said, true, said, False, "test")
    assert [share.estimate for share in found.shares] == [None, None]
    assert found.problem.startswith(
        "The shares of the labels are not estimated: the matrix of confusion on test cannot be inverted"
    )
    absent = np.array([[True, False]] * 30)
    assert label_prior(["yes", "no"], absent, absent, absent, False, "test").problem


def test_shares_of_several_labels() -> None:
    rng = np.random.default_rng(0)

    def rows(shares: list[float], rows: int) -> tuple[np.ndarray, np.ndarray]:
        true = rng.random((rows, 3)) < shares
        right = rng.random((rows, 3)) < [0.8, 0.9, 0.5]
        return np.where(right, true, ~true), true

    said, true = rows([0.3, 0.5, 0.2], 2000)
    new, _ = rows([0.6, 0.1, 0.2], 2000)
    found = label_prior(["a", "b", "c"], said, true, new, True, "validation")
    assert found.shares[0].estimate == pytest.approx(0.6, abs=0.06)
    assert found.shares[1].estimate == pytest.approx(0.1, abs=0.06)
    assert found.shares[2].estimate is None  # predicted by tossing a coin
    assert found.problem.startswith("The shares of 'c' are not estimated")


# The expected accuracy


def calibrated(rng: Rng, rows: int, mean: float) -> Scored:
    """Two labels with probabilities that are right as often as they say."""
    logits = rng.normal(mean, 1.0, rows)
    sure = 1 / (1 + np.exp(-np.abs(logits)))
    scores = np.stack([sure, 1 - sure], 1)
    return scored(scores, (rng.random(rows) < sure).tolist(), several=False)


def test_the_accuracy_of_a_calibrated_model_is_its_confidence() -> None:
    rng = np.random.default_rng(0)
    source, harder = calibrated(rng, 4000, 2.0), calibrated(rng, 4000, 0.5)
    assert source.accuracy - harder.accuracy > 0.1
    assert from_confidence(source, harder) == pytest.approx(harder.accuracy, abs=0.02)
    assert [estimate(source, source) for estimate in METHODS.values()] == pytest.approx([source.accuracy] * 2)


def test_the_accuracy_of_a_model_that_is_wrong_where_it_is_unsure_is_the_share_of_sure_rows() -> None:
    rng = np.random.default_rng(0)

    def rows(mean: float) -> Scored:
        sure = 1 / (1 + np.exp(-np.abs(rng.normal(mean, 1.0, 2000))))
        return scored(np.stack([sure, 1 - sure], 1), (sure + rng.normal(0, 0.05, 2000) > 0.7).tolist(), several=False)

    source, harder = rows(2.0), rows(0.5)
    assert source.accuracy - harder.accuracy > 0.3
    assert thresholded(source, harder) == pytest.approx(harder.accuracy, abs=0.04)


def test_estimates_by_hand() -> None:
    certainty = np.array([-0.5, -0.4, -0.3, -0.2, -0.1])
    source = Scored(np.array([0.6, 0.7, 0.8, 0.9, 1.0]), certainty, np.array([True, False, True, True, False]))
    new = Scored(np.array([0.6, 0.6]), np.array([-0.35, -0.05]), np.array([]))
    assert thresholded(source, new) == 0.5  # of the source, three of five are at least as certain as -0.3
    assert from_confidence(source, new) == pytest.approx(0.6 + 0.6 - 0.8)
    none = Scored(source.confidence, certainty, np.zeros(5, dtype=bool))
    assert thresholded(none, new) == 0


def test_rows_of_equal_certainty_count_in_part() -> None:
    """A model that is as sure of all rows is expected to be as right on new ones."""
    rng = np.random.default_rng(0)
    source = Scored(np.ones(100), np.zeros(100), rng.random(100) < 0.8)
    new = Scored(np.ones(50), np.zeros(50), np.array([]))
    assert thresholded(source, new) == pytest.approx(source.accuracy)


def test_the_confidence_in_several_labels() -> None:
    found = scored(np.array([[0.9, 0.2], [0.5, 0.5]]), [], several=True)
    assert found.confidence == pytest.approx([0.9 * 0.8, 0.25])
    assert found.certainty[0] > found.certainty[1] == pytest.approx(-2 * np.log(2))


def test_intervals_cover_the_errors_on_known_shifts() -> None:
    rng = np.random.default_rng(0)
    source, new = calibrated(rng, 500, 1.5), calibrated(rng, 500, 0.5)
    exact = known_shift("none", source, source)
    wrong = replace(exact, estimates={name: value + 0.2 for name, value in exact.estimates.items()})
    narrow, wide = (expected_accuracy(source, new, [shift]) for shift in (exact, wrong))
    for before, after in zip(narrow, wide, strict=True):
        assert before.value == after.value
        assert after.interval[0] < before.interval[0] - 0.1
        assert after.mean_error == pytest.approx(0.2)
    assert narrow[1].interval[0] <= new.accuracy <= narrow[1].interval[1]


def test_known_shifts_of_the_shares_of_labels() -> None:
    rng = np.random.default_rng(0)
    found = calibrated(rng, 2000, 1.0)
    labels = np.where(found.right, "easy", "hard")
    shifts = {shift.name: shift for shift in known_shifts(found, labels.tolist(), None)}
    share = found.right.mean()
    assert len(shifts) == 3
    fewer, more = list(shifts.values())[1:]
    assert fewer.accuracy == pytest.approx(share / 2, abs=0.05)
    assert more.accuracy == pytest.approx((1 + share) / 2, abs=0.05)
    assert "of the rows labelled easy" in list(shifts)[1]
    assert [shift.name for shift in known_shifts(found, ["one"] * 2000, None)] == ["none"]


def test_known_shifts_of_texts() -> None:
    found = calibrated(np.random.default_rng(0), 100, 1.0)
    asked: list[np.ndarray] = []

    def rewrite(how: Callable[[list[str], Rng], list[str]], places: np.ndarray) -> Scored:
        asked.append(places)
        text = "one two three four five six seven eight nine ten"
        assert how([text], np.random.default_rng(1)) != [text]
        return found[places]

    names = [shift.name for shift in known_shifts(found, ["x"] * 100, rewrite)]
    assert names == [
        "none",
        "a fifth of the words deleted",
        "half of the words deleted",
        "words moved",
        "a fifth of the words misspelt",
    ]
    assert all(len(places) == 50 for places in asked)


def test_misspelt_words() -> None:
    [text] = Misspelling(1.0).augmented(["ab  cd, I"], np.random.default_rng(0))
    assert sorted(text) == sorted("ab  cd, I")
    assert text.startswith("ba  ")
    assert Misspelling(0.0).augmented(["ab cd"], np.random.default_rng(0)) == ["ab cd"]
