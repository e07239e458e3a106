"""Answers against a plain reading of the rules of SQuAD, and worked examples in English and Chinese, there also of CMRC."""

import random

import pytest

from ftlit.metrics.squad import best_threshold, default_rules, exact_match, f1, normalize_answer, squad_scores
from tests.support.references.rules import squad, squad_normal

WORDS = ["The", "a", "cat", "Cat!", "dog", "an", "sat.", "on", "mat,", "theatre", "U.S.", "1,000", "--", "(the)"]


def phrase(rng: random.Random, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(0, most)))


def random_rows(seed: int, count: int = 300) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)
    return [phrase(rng, 3) for _ in range(count)], [[phrase(rng, 4) for _ in range(rng.randint(0, 3))] for _ in range(count)]


def test_the_rules_of_squad() -> None:
    predictions, answers = random_rows(1, 2000)
    for prediction, gold in zip(predictions, answers, strict=True):
        assert normalize_answer(prediction) == squad_normal(prediction)
        expected = squad(prediction, gold)
        assert (exact_match(prediction, gold), f1(prediction, gold)) == pytest.approx(expected), (prediction, gold)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("The Cat.", ["cat"], 1, 1),
        ("the black cat", ["a cat", "black dog on the mat"], 0, 2 / 3),
        ("cat cat dog", ["cat dog dog"], 0, 2 / 3),
        ("", [], 1, 1),
        ("the", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("cat", ["", "cat"], 1, 1),
    ],
)
def test_worked_examples(prediction: str, answers: list[str], exact: float, overlap: float) -> None:
    assert exact_match(prediction, answers) == exact
    assert f1(prediction, answers) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("北京。", ["北京"], 1, 1),
        ("《北京 大学》", ["北京大学"], 1, 1),
        ("北京大学", ["南京大学"], 0, 3 / 4),
        ("大北", ["北京", "北京大学的"], 0, 4 / 7),
        ("2008年8月", ["2008年"], 0, 2 * 2 / 6),
        ("iPhone手机", ["IPHONE"], 0, 2 / 4),
        ("京", [], 0, 0),
        ("東京タワー", ["タワー"], 0, 6 / 8),
    ],
)
def test_chinese_is_counted_by_characters(prediction: str, answers: list[str], exact: float, overlap: float) -> None:
    assert exact_match(prediction, answers, "characters") == exact
    assert f1(prediction, answers, "characters") == pytest.approx(overlap)


def test_the_rules_decide_about_a_text_whatever_its_characters() -> None:
    assert normalize_answer("The A ＋ x-1", "characters") == "the a x1"
    assert normalize_answer("The A + x-1", "squad") == "x1"
    assert (f1("。", [], "characters"), f1("。", [], "squad")) == (1, 0)


def test_an_english_answer_with_a_chinese_character_follows_squad() -> None:
    assert normalize_answer("The 東京 Tower") == "東京 tower"
    assert exact_match("東京 Tower", ["the 東京 tower"]) == 1
    assert f1("東京タワー", ["タワー"]) == 0


def test_the_data_set_decides_about_the_rules() -> None:
    assert default_rules([["the 東京 tower"], ["a cat"], ["a dog"]]) == "squad"
    assert default_rules([["北京"], ["2008年"], ["2008"], []]) == "characters"
    assert default_rules([]) == "squad"


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("北京大学", ["北京的大学"], 0, 2 * 2 / 9),  # the longest common part has two characters
        ("《北京》", ["北京"], 1, 1),
        ("大北京", ["北京大", "京"], 0, 2 / 3),
        ("the cat", ["cat"], 0, 2 / 3),  # articles count
        ("", ["、"], 1, 0),  # the official script
        ("", [], 1, 1),
        ("京", [], 0, 0),
    ],
)
def test_cmrc_compares_the_longest_common_part(prediction: str, answers: list[str], exact: float, overlap: float) -> None:
    assert exact_match(prediction, answers, "cmrc") == exact
    assert f1(prediction, answers, "cmrc") == pytest.approx(overlap)


def test_means_over_questions() -> None:
    predictions, answers = random_rows(2)
    scores = squad_scores(predictions, answers)
    rows = [squad(p, a) for p, a in zip(predictions, answers, strict=True)]
    assert scores["exact_match"] == pytest.approx(sum(r[0] for r in rows) / 300)
    assert scores["f1"] == pytest.approx(sum(r[1] for r in rows) / 300)
    answered = [r for r, a in zip(rows, answers, strict=True) if a]
    silent = [r for r, a in zip(rows, answers, strict=True) if not a]
    assert scores["f1_answerable"] == pytest.approx(sum(r[1] for r in answered) / len(answered))
    assert scores["exact_match_answerable"] == pytest.approx(sum(r[0] for r in answered) / len(answered))
    assert scores["f1_unanswerable"] == pytest.approx(sum(r[1] for r in silent) / len(silent))
    assert scores["exact_match_unanswerable"] == scores["f1_unanswerable"]


def test_parts_are_given_only_where_there_are_some() -> None:
    assert squad_scores(["cat", "dog"], [["cat"], ["cat"]]) == {"exact_match": 0.5, "f1": 0.5}
    assert set(squad_scores([""], [[]])) == {"exact_match", "f1", "exact_match_unanswerable", "f1_unanswerable"}
    assert squad_scores([], []) == {"exact_match": 0, "f1": 0}
    with pytest.raises(ValueError):
        squad_scores(["cat"], [])


def f1_at(threshold: float, null_scores: list[float], predictions: list[str], answers: list[list[str]]) -> float:
    kept = [text if score <= threshold else "" for score, text in zip(null_scores, predictions, strict=True)]
    return squad_scores(kept, answers)["f1"]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(seed: int) -> None:
    rng = random.Random(seed)
    predictions, answers = random_rows(seed, 60)
    predictions = [
        f"{gold[0]} cat" if gold and rng.random() < 0.8 else text for text, gold in zip(predictions, answers, strict=True)
    ]
    # Rounded, so that some are equal; answerable questions tend to low scores.
    null_scores = [round(rng.gauss(-0.5 if gold else 0.5, 1.0), 1) for gold in answers]
    threshold, best = best_threshold(null_scores, predictions, answers)
    assert f1_at(threshold, null_scores, predictions, answers) == pytest.approx(best)
    every = [f1_at(t, null_scores, predictions, answers) for t in (-99, *null_scores)]
    assert best == pytest.approx(max(every))
    assert best > f1_at(-99, null_scores, predictions, answers)


def test_threshold_where_nothing_should_be_answered() -> None:
    assert best_threshold([-3.0, -5.0], ["cat", "dog"], [[], []]) == (-6.0, 1.0)
    assert best_threshold([-3.0, -5.0], ["cat", "dog"], [["cat"], ["dog"]]) == (-3.0, 1.0)
    assert best_threshold([], [], []) == (0.0, 0.0)
