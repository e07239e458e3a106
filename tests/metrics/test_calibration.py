"""Measures of calibration against closed forms, scikit-learn and simulated models; maps of scores and what they change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ftlit.errors import UserError
from ftlit.metrics.calibration.applied import Calibration
from ftlit.metrics.calibration.decisions import Stated, decisions
from ftlit.metrics.calibration.errors import bins_of, calibration_errors, reliability
from ftlit.metrics.calibration.maps import OWN, ScoreMap
from ftlit.metrics.calibration.measures import calibration_report, measured
from ftlit.metrics.calibration.selection import risk_coverage
from ftlit.metrics.evidence.intervals import documents

NAMES = ["a", "b", "c"]
Rows = list[dict[str, Any]]


def softmax(logits: np.ndarray) -> np.ndarray:
    found = np.exp(logits - logits.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def drawn(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A class of each row, drawn with these probabilities ``(rows, classes)``."""
    return (rng.random(len(probabilities))[:, None] > probabilities.cumsum(1)).sum(1)


def labelled(probabilities: np.ndarray, right: np.ndarray) -> Rows:
    """Predictions of rows with one label each."""
    rows = []
    for i, (scores, label) in enumerate(zip(probabilities.tolist(), right.tolist(), strict=True)):
        best = int(np.argmax(scores))
        named = dict(zip(NAMES, scores, strict=True))
        rows.append(
            {
                "id": f"test:{i}",
                "text": "x",
                "label": NAMES[label],
                "prediction": NAMES[best],
                "score": scores[best],
                "scores": named,
            }
        )
    return rows


def several(probabilities: np.ndarray, right: np.ndarray) -> Rows:
    """Predictions of rows with any number of labels."""
    rows = []
    for i, scores in enumerate(probabilities.tolist()):
        named = dict(zip(NAMES, scores, strict=True))
        said = [name for name, score in named.items() if score > 0.5]
        label = [name for name, there in zip(NAMES, right[i], strict=True) if there]
        score = [named[name] for name in said]
        rows.append({"id": f"test:{i}", "text": "x", "label": label, "prediction": said, "score": score, "scores": named})
    return rows


def one_label(count: int = 300, seed: int = 0, too_sure: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that is too sure by this factor, and the right classes."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((count, 3))
    return softmax(too_sure * logits), drawn(softmax(logits), rng)


def any_labels(count: int = 300, seed: int = 0, too_sure: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((count, 3)) - 1
    return 1 / (1 + np.exp(-too_sure * logits)), rng.random((count, 3)) < 1 / (1 + np.exp(-logits))


def errors_of(probability: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """The calibration error, without and with what chance adds."""
    bins = bins_of(probability)
    sums = (np.bincount(bins.place, values, bins.number) for values in (None, probability, true))
    without, plain = calibration_errors(*sums)
    return float(without), float(plain)


# Measures


def test_scores_and_likelihoods_are_those_of_scikit_learn() -> None:
    values, right = one_label()
    [found] = decisions("labels", labelled(values, right))
    assert found.whole is not None
    assert found.of == "rows"
    assert found.whole.nll.mean() == pytest.approx(log_loss(right, values))
    assert found.whole.brier.mean() == pytest.approx(np.mean(((values - np.eye(3)[right]) ** 2).sum(1)))
    values, true = any_labels()
    [found] = decisions("labels", several(values, true))
    assert found.whole is not None
    assert found.of == "labels"
    assert found.whole.nll.mean() == pytest.approx(np.mean([log_loss(true[:, i], values[:, i]) for i in range(3)]))
    assert found.whole.brier.mean() == pytest.approx(np.mean([brier_score_loss(true[:, i], values[:, i]) for i in range(3)]))


def test_the_calibration_error_of_two_bins() -> None:
    probability = np.repeat([0.9, 0.3], 10)
    true = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    without, plain = errors_of(probability, true)
    assert plain == pytest.approx((0 + 0.2) / 2)
    assert 0 < without < plain
    found = reliability(Stated(probability, true, np.arange(20)))
    assert (found.stated.tolist(), found.true.tolist(), found.size.tolist()) == (
        pytest.approx([0.3, 0.9]),
        [0.5, 0.9],
        [10, 10],
    )


def test_a_calibrated_model_has_an_error_near_nil_without_chance() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(100):
        probability = 0.4 + 0.6 * rng.random(600)
        pairs.append(errors_of(probability, rng.random(600) < probability))
    without, plain = np.mean(pairs, 0)
    assert plain > 0.04
    assert abs(without) < plain / 4


@pytest.mark.parametrize("shift", [0.05, 0.15])
def test_a_model_that_is_too_sure_has_the_error_that_it_has(shift: float) -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(100):
        probability = 0.4 + 0.6 * rng.random(600)
        pairs.append(errors_of(probability, rng.random(600) < probability - shift))
    without, plain = np.mean(pairs, 0)
    assert without == pytest.approx(shift, abs=0.008)
    assert plain > shift + 0.01 or shift > 0.1


def test_intervals_contain_the_true_error_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(30):
        probability = 0.5 + 0.5 * rng.random(250)
        right = np.where(rng.random(250) < probability - 0.12, 0, 1)
        rows = labelled(np.stack([probability, 1 - probability, np.zeros(250)], 1), right)
        low, high = measured(decisions("labels", rows)[0], documents(rows)).interval("ece")
        hits += low <= 0.12 <= high
    assert hits >= 26


def test_the_area_under_the_risk_coverage_curve() -> None:
    answers = Stated(np.array([0.7, 0.9, 0.6, 0.8]), np.array([True, True, False, False]), np.arange(4))
    curve = risk_coverage(answers)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    values, right = one_label(60)
    rows = labelled(values, right)
    by_hand = sorted(rows, key=lambda row: -row["score"])
    wrong = np.cumsum([row["prediction"] != row["label"] for row in by_hand]) / np.arange(1, 61)
    assert measured(decisions("labels", rows)[0], documents(rows)).values["aurc"] == pytest.approx(wrong.mean())


def test_the_order_of_rows_does_not_decide_among_equal_scores() -> None:
    right = np.repeat([0, 1], 200)  # all right ones come first
    rows = labelled(np.tile([0.6, 0.4, 0.0], (400, 1)), right)
    assert measured(decisions("labels", rows)[0], documents(rows)).values["aurc"] == pytest.approx(0.5, abs=0.06)


def test_the_report_has_every_measure_with_an_interval() -> None:
    [found] = calibration_report("labels", labelled(*one_label()))
    for name in ("ece", "ece_plain", "brier", "nll", "aurc"):
        low, high = found[name]["interval"]
        assert 0 <= low < found[name]["value"] < high, name
    assert found["count"] == sum(found["reliability"]["count"]) == 300
    assert found["risk_coverage"]["coverage"][-1] == 1
    assert found == calibration_report("labels", labelled(*one_label()))[0], "a resumed run ends with the same bits"


def test_rows_of_a_document_are_drawn_together() -> None:
    values, right = one_label(200)
    rows = labelled(np.repeat(values[:20], 10, 0), np.repeat(right[:20], 10))
    [alone] = calibration_report("labels", rows)
    [together] = calibration_report("labels", [{**row, "group": i // 10} for i, row in enumerate(rows)])
    width = [np.ptp(found["nll"]["interval"]) for found in (alone, together)]
    assert width[1] > 2 * width[0]


def test_predictions_without_probabilities_have_no_report() -> None:
    rows = labelled(*one_label(30))
    assert calibration_report("values", rows) == calibration_report(None, rows) == calibration_report("labels", []) == []
    assert calibration_report("labels", rows[:1]) == [], "one row has no interval"
    bare = [{key: row[key] for key in ("id", "label", "prediction")} for row in rows]
    assert calibration_report("labels", bare) == []


def test_of_many_labels_only_the_highest_scores_are_known() -> None:
    rows = [
        {**row, "scores": {row["prediction"]: row["score"], f"other{i}": 0.0}} for i, row in enumerate(labelled(*one_label(40)))
    ]
    [found] = calibration_report("labels", rows)
    assert {"ece", "aurc"} < found.keys()
    assert not {"brier", "nll"} & found.keys()


def choice(scores: list[float], label: str, prediction: str, index: int, **inputs: Any) -> dict[str, Any]:
    own = {"prediction": prediction, "index": index, "score": scores[index], "scores": scores}
    return {"id": "test:0", "question": "q", **inputs, "label": label, **own}


CHOICES = [
    choice([0.6, 0.4], "y", "x", 0, choices=["x", "y"]),
    choice([0.2, 0.3, 0.5], "w", "w", 2, choices={"text": ["u", "v", "w"], "label": ["A", "B", "C"]}),
    choice([0.7, 0.3], "y", "x", 0, one="x", two="y"),
]


def test_choices_may_be_a_list_or_columns_and_differ_in_number() -> None:
    [found] = decisions("choices", CHOICES)
    assert found.whole is not None
    assert found.whole.right.tolist() == [0.4, 0.5, 0.3]
    assert found.whole.values.tolist() == [[0.6, 0.4, 0], [0.2, 0.3, 0.5], [0.7, 0.3, 0]]
    assert found.stated.true.tolist() == [False, True, False]


TAGS = ["O", "B-PER", "I-PER"]
ENTITY = {"label": "PER", "start": 0, "end": 8, "text": "Ann Lind"}
TAGGED = {
    "id": "test:0",
    "tokens": ["Ann", "Lind", "ran"],
    "label": [ENTITY],
    "prediction": [{**ENTITY, "score": 0.75}],
    "tags": ["B-PER", "I-PER", "O"],
    "words": ["Ann", "Lind", "ran"],
}
WORDS = {"O": [0.1, 0.2, 0.9], "B-PER": [0.8, 0.1, 0.05], "I-PER": [0.1, 0.7, 0.05]}


def test_words_and_entities() -> None:
    [entities] = decisions("tags", [TAGGED])
    assert (entities.of, entities.stated.probability.tolist(), entities.stated.true.tolist()) == ("entities", [0.75], [True])
    words, _ = decisions("tags", [{**TAGGED, "scores": WORDS}])
    assert words.whole is not None
    assert words.stated.probability.tolist() == [0.8, 0.7, 0.9]
    assert words.whole.right.tolist() == [0.8, 0.7, 0.9]
    plain = {"id": "test:1", "tokens": ["a", "b"], "label": ["N", "V"], "prediction": ["N", "N"], "score": [0.9, 0.6]}
    [found] = decisions("tags", [plain])
    assert (found.of, found.stated.true.tolist(), found.whole) == ("words", [True, False], None)


# Maps


def test_a_temperature_divides_the_logits() -> None:
    logits = np.random.default_rng(0).standard_normal((50, 4)) * 5
    divided = ScoreMap(temperature=2.5)
    assert divided(softmax(logits), False) == pytest.approx(softmax(logits / 2.5))
    assert divided(1 / (1 + np.exp(-logits)), True) == pytest.approx(1 / (1 + np.exp(-logits / 2.5)))
    assert divided(np.array([[1.0, 0.0]]), False).tolist() == [[1, 0]]
    assert divided(np.array([[1.0, 0.5]]), True) == pytest.approx(np.array([[0.9987, 0.5]]), abs=1e-4)


@pytest.mark.parametrize(
    "scores", [ScoreMap(3.0), ScoreMap(points=([0.2, 0.6, 0.8], [0.0, 0.4, 0.4]))], ids=["temperature", "isotonic"]
)
def test_maps_keep_the_order_and_the_sum(scores: ScoreMap) -> None:
    values = softmax(np.random.default_rng(0).standard_normal((50, 4)) * 3)
    found = scores(values, False)
    assert found.sum(1) == pytest.approx(np.ones(50))
    assert (np.argsort(found, 1) == np.argsort(values, 1)).all()
    assert (found > 0).all()
    independent = scores(values, True)
    assert (np.argsort(independent, 1) == np.argsort(values, 1)).all()


def test_an_isotonic_map_joins_its_points_by_lines() -> None:
    scores = ScoreMap(points=([0.2, 0.6], [0.1, 0.5]))
    assert scores(np.array([[0.1, 0.4, 0.9]]), True)[0] == pytest.approx(
        [(1 - OWN) * mapped + OWN * own for mapped, own in ((0.1, 0.1), (0.3, 0.4), (0.5, 0.9))]
    )


# What a calibration changes


def test_scores_change_and_labels_stay() -> None:
    rows = labelled(*one_label(20))
    found = Calibration(ScoreMap(2.0))(rows)
    for row, old in zip(found, rows, strict=True):
        assert row["prediction"] == old["prediction"]
        assert row["score"] == row["scores"][row["prediction"]] < old["score"]
        assert "abstained" not in row
    again = Calibration()(rows)
    assert again == rows


def test_unsure_rows_get_no_answer() -> None:
    rows = labelled(*one_label(50))
    found = Calibration(ScoreMap(2.0), abstain_below=0.6)(rows)
    assert {row["abstained"] for row in found} == {True, False}
    for row, old in zip(found, rows, strict=True):
        assert row["abstained"] == (row["score"] < 0.6)
        assert row["prediction"] == (None if row["abstained"] else old["prediction"])


def test_sets_hold_every_label_with_enough_score() -> None:
    rows = labelled(*one_label(50))
    for row in Calibration(set_above=0.3)(rows):
        assert row["set"] == [name for name, score in row["scores"].items() if score >= 0.3]
    assert [row["set"] for row in Calibration(set_above=0.25)(CHOICES)] == [[0, 1], [1, 2], [0, 1]]


def test_thresholds_decide_several_labels() -> None:
    rows = several(*any_labels(30))
    found = Calibration(thresholds={"a": 0.2, "b": 0.5, "c": 2.0}, abstain_below=0.6)(rows)
    for row, old in zip(found, rows, strict=True):
        scores = old["scores"]
        said = [name for name, least in (("a", 0.2), ("b", 0.5)) if scores[name] >= least]
        sure = min(score if name in said else 1 - score for name, score in scores.items())
        assert row["score"] == [scores[name] for name in said]
        assert (row["prediction"], row["abstained"]) == ((None, True) if sure < 0.6 else (said, False))


def test_entities_get_the_mean_of_their_words() -> None:
    short = {**TAGGED, "prediction": [], "tags": ["O"], "scores": {"O": [0.6], "B-PER": [0.3], "I-PER": [0.1]}}
    found, other = Calibration(ScoreMap(2.0))([{**TAGGED, "scores": WORDS}, short])
    first = np.sqrt([0.8, 0.1, 0.1]) / np.sqrt([0.8, 0.1, 0.1]).sum()
    second = np.sqrt([0.7, 0.2, 0.1]) / np.sqrt([0.7, 0.2, 0.1]).sum()
    assert found["prediction"] == [{**ENTITY, "score": pytest.approx((first[0] + second[0]) / 2)}]
    assert found["scores"]["B-PER"][0] == pytest.approx(first[0])
    assert other["prediction"] == []
    plain = {"prediction": ["N", "V"], "score": [0.9, 0.6], "scores": {"N": [0.9, 0.4], "V": [0.1, 0.6]}}
    [tagged] = Calibration(ScoreMap(2.0))([plain])
    assert tagged["prediction"] == ["N", "V"]
    assert tagged["score"] == pytest.approx([0.75, 0.6**0.5 / (0.6**0.5 + 0.4**0.5)])


def test_a_calibration_comes_back_from_its_file() -> None:
    whole = Calibration(ScoreMap(1.5, ([0.1, 0.9], [0.2, 0.8])), {"a": 0.3}, 0.7, 0.2)
    assert Calibration.of(whole.record, Path("x")).record == whole.record
    assert Calibration.of({}, Path("x")) == Calibration()
    alone = whole.without_temperature()
    assert (alone.scores.temperature, alone.set_temperature) == (1, 1 / 1.5)


@pytest.mark.parametrize(
    "record",
    [
        {"temperature": 0}, {"temperature": "warm"}, {"temperature": float("nan")}, {"points": [[0.5, 0.1], [0, 1]]},
        {"points": [[0.5], [0, 1]]}, {"points": [[0, 2], [0, 1]]}, {"thresholds": [0.5]}, {"abstain_below": "low"},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_calibration_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"calibration.json is damaged: it is no calibration"):
        Calibration.of(record, Path("calibration.json"))
