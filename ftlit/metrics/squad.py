"""Exact match and F1 of answers as in the official scripts of SQuAD 1.1 and 2.0, by characters for Chinese."""

import re
import string
import unicodedata
from collections import Counter
from itertools import groupby
from typing import Literal

Language = Literal["en", "zh"]

# Han characters and kana, which are written without spaces. Their punctuation is outside these ranges.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
ARTICLES = re.compile(r"\b(a|an|the)\b")
CHARACTERS = re.compile(f"[{CJK}]|[^\\s{CJK}]+")
HAS_CJK = re.compile(f"[{CJK}]")


def normalize_answer(text: str, language: Language = "en") -> str:
    """Normalize an answer to lower case, without punctuation, with tokens separated by spaces.

    English articles are removed (Rajpurkar et al., 2016). Chinese, and any text with Chinese or Japanese characters, is split
    into characters and words of other scripts, and full-width punctuation is removed too, as in MLQA (Lewis et al., 2020).
    """
    text = text.lower()
    if language == "zh" or HAS_CJK.search(text):
        return " ".join(CHARACTERS.findall("".join(c for c in text if not _is_punctuation(c))))
    return " ".join(ARTICLES.sub(" ", "".join(c for c in text if c not in string.punctuation)).split())


def _is_punctuation(char: str) -> bool:
    # Full-width symbols such as ＋ are treated like the ASCII ones that the SQuAD script removes.
    return unicodedata.category(char).startswith("P") or unicodedata.normalize("NFKC", char) in string.punctuation


def _gold(answers: list[str], language: Language) -> list[str]:
    return [answer for answer in (normalize_answer(a, language) for a in answers) if answer] or [""]


def exact_match(prediction: str, answers: list[str], language: Language = "en") -> float:
    """Return 1 if a prediction equals one of the answers, or is empty if there are none (SQuAD 2.0), else 0."""
    return float(normalize_answer(prediction, language) in _gold(answers, language))


def f1(prediction: str, answers: list[str], language: Language = "en") -> float:
    """Return the highest token F1 with one of the answers. Without answers, return 1 if the prediction is empty, else 0."""
    predicted = normalize_answer(prediction, language).split()
    return max(_overlap(predicted, answer.split()) for answer in _gold(answers, language))


def _overlap(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    return 2 * (Counter(predicted) & Counter(gold)).total() / (len(predicted) + len(gold))


def squad_scores(predictions: list[str], answers: list[list[str]], language: Language = "en") -> dict[str, float]:
    """Compute mean exact match and F1 as fractions.

    Args:
        predictions: Answer to each question, empty for no answer.
        answers: True answers of each question, empty if it has no answer.
        language: `zh` splits all texts into characters, `en` only texts with Chinese or Japanese characters.

    Returns:
        `exact_match` and `f1`. If some questions have no answer, also both with `_answerable` and `_unanswerable`.
    """
    rows = [
        (bool(gold), exact_match(prediction, gold, language), f1(prediction, gold, language))
        for prediction, gold in zip(predictions, answers, strict=True)
    ]
    scores = _means(rows, "")
    if not all(answerable for answerable, *_ in rows):
        for kind, suffix in ((True, "_answerable"), (False, "_unanswerable")):
            if part := [row for row in rows if row[0] == kind]:
                scores |= _means(part, suffix)
    return scores


def _means(rows: list[tuple[bool, float, float]], suffix: str) -> dict[str, float]:
    count = len(rows) or 1
    return {f"exact_match{suffix}": sum(row[1] for row in rows) / count, f"f1{suffix}": sum(row[2] for row in rows) / count}


def best_threshold(
    null_scores: list[float], predictions: list[str], answers: list[list[str]], language: Language = "en"
) -> tuple[float, float]:
    """Find the no-answer threshold with the highest F1 (SQuAD 2.0; Rajpurkar et al., 2018).

    Args:
        null_scores: Score of no answer minus the score of the prediction, for each question.
        predictions: Best non-empty answer to each question.
        answers: True answers of each question, empty if it has no answer.
        language: As in `squad_scores`.

    Returns:
        The threshold, and the mean F1 if questions are answered whose null score is at most the threshold. The threshold is
        below all null scores if no question should be answered.
    """
    rows = list(zip(null_scores, predictions, answers, strict=True))
    if not rows:
        return 0.0, 0.0
    unanswered = [f1("", gold, language) for gold in answers]
    gains = [(score, f1(text, gold, language) - base) for (score, text, gold), base in zip(rows, unanswered, strict=True)]
    total = best = sum(unanswered)
    threshold = min(null_scores) - 1.0
    for score, tied in groupby(sorted(gains), key=lambda gain: gain[0]):
        total += sum(gain for _, gain in tied)
        if total > best:
            threshold, best = score, total
    return threshold, best / len(rows)
