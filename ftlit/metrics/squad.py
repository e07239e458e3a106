"""Exact match and F1 of answers, as the scripts of SQuAD 1.1 and 2.0 count them, and for Chinese by characters."""

import re
import string
import unicodedata
from collections import Counter
from itertools import groupby
from typing import Literal

Language = Literal["en", "zh"]

# Han characters and kana, which no space separates; their punctuation lies elsewhere.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
ARTICLES = re.compile(r"\b(a|an|the)\b")
CHARACTERS = re.compile(f"[{CJK}]|[^\\s{CJK}]+")
HAS_CJK = re.compile(f"[{CJK}]")


def normalize_answer(text: str, language: Language = "en") -> str:
    """An answer in lower case, without punctuation, its tokens separated by spaces.

    English loses its articles (Rajpurkar et al. 2016). Chinese is split into characters and words of other scripts, and
    full-width punctuation goes too, as in MLQA (Lewis et al. 2020); so is any text with Chinese or Japanese characters.
    """
    text = text.lower()
    if language == "zh" or HAS_CJK.search(text):
        return " ".join(CHARACTERS.findall("".join(c for c in text if not _is_punctuation(c))))
    return " ".join(ARTICLES.sub(" ", "".join(c for c in text if c not in string.punctuation)).split())


def _is_punctuation(char: str) -> bool:
    # Full-width symbols such as ＋ count as the ASCII ones that the script of SQuAD removes.
    return unicodedata.category(char).startswith("P") or unicodedata.normalize("NFKC", char) in string.punctuation


def _gold(answers: list[str], language: Language) -> list[str]:
    return [answer for answer in (normalize_answer(a, language) for a in answers) if answer] or [""]


def exact_match(prediction: str, answers: list[str], language: Language = "en") -> float:
    """Whether a prediction equals one of the answers, or is empty where there are none (SQuAD 2.0)."""
    return float(normalize_answer(prediction, language) in _gold(answers, language))


def f1(prediction: str, answers: list[str], language: Language = "en") -> float:
    """The best overlap in tokens with one of the answers; without answers, whether the prediction is empty."""
    predicted = normalize_answer(prediction, language).split()
    return max(_overlap(predicted, answer.split()) for answer in _gold(answers, language))


def _overlap(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    return 2 * (Counter(predicted) & Counter(gold)).total() / (len(predicted) + len(gold))


def squad_scores(predictions: list[str], answers: list[list[str]], language: Language = "en") -> dict[str, float]:
    """Mean exact match and F1, as fractions.

    Args:
        predictions: Answer to each question; empty where the model gives none.
        answers: True answers of each question; none where it has no answer.
        language: `zh` splits every text into characters; `en` does so only where a text has some.

    Returns:
        `exact_match` and `f1`; where some questions have no answers also both with `_answerable` and `_unanswerable`.
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
    """The no-answer threshold with the best F1 (SQuAD 2.0, Rajpurkar et al. 2018).

    Args:
        null_scores: How sure the model is that a question has no answer, less how sure it is of its prediction.
        predictions: The best answer to each question that is not empty.
        answers: True answers of each question; none where it has no answer.
        language: As in `squad_scores`.

    Returns:
        The threshold, and the mean F1 where a question is answered if its null score is not above the threshold. Below all
        null scores where no question should be answered.
    """
    rows = list(zip(null_scores, predictions, answers, strict=True))
    if not rows:
        return 0.0, 0.0
    silent = [f1("", gold, language) for gold in answers]
    gains = [(score, f1(text, gold, language) - none) for (score, text, gold), none in zip(rows, silent, strict=True)]
    total = best = sum(silent)
    threshold = min(null_scores) - 1.0
    for score, tied in groupby(sorted(gains), key=lambda gain: gain[0]):
        total += sum(gain for _, gain in tied)
        if total > best:
            threshold, best = score, total
    return threshold, best / len(rows)
