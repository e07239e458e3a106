"""Exact match and F1 of answers by the official rules of SQuAD, of MLQA for Chinese, or of CMRC 2018."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import Any, Literal

from ftlit.metrics.language import CJK, HAS_CJK, mostly, punkt

AnswerRules = Literal["squad", "characters", "cmrc"]

ARTICLES = re.compile(r"\b(a|an|the)\b")
CHARACTERS = re.compile(f"[{CJK}]|[^\\s{CJK}]+")
# The official script of CMRC 2018 ignores these, and splits off characters of this range.
CMRC_IGNORED = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CMRC_PARTS = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")


def default_rules(references: Iterable[Iterable[str]]) -> AnswerRules:
    """Return the rules for a whole data set: `characters` if most answers have Chinese or Japanese characters, else `squad`."""
    return "characters" if mostly(HAS_CJK, references) else "squad"


def answer_signature(rules: AnswerRules) -> str:
    """Return the signature of exact match and F1, which says how answers are compared."""
    parts = {
        "squad": "rules:squad|case:lower|punctuation:no|articles:no|tok:words",
        "characters": "rules:characters|case:lower|punctuation:no|articles:yes|tok:characters",
        "cmrc": "rules:cmrc|case:lower|punctuation:cmrc|articles:yes|tok:characters|f1:longest common part",
    }
    return parts[rules]


def normalize_answer(text: str, rules: AnswerRules = "squad") -> str:
    """Normalize an answer to lower case, without punctuation, with tokens separated by spaces.

    `squad` also removes English articles (Rajpurkar et al., 2016). `characters` splits a text into Chinese or Japanese
    characters and words of other scripts, and removes full-width punctuation too, as in MLQA (Lewis et al., 2020). `cmrc`
    only removes the punctuation that the script of CMRC 2018 lists (Cui et al., 2019).
    """
    text = text.lower()
    if rules == "cmrc":
        return "".join(c for c in text.strip() if c not in CMRC_IGNORED)
    if rules == "characters":
        return " ".join(CHARACTERS.findall("".join(c for c in text if not _is_punctuation(c))))
    return " ".join(ARTICLES.sub(" ", "".join(c for c in text if c not in string.punctuation)).split())


def _is_punctuation(char: str) -> bool:
    # Full-width symbols such as ＋ are treated like the ASCII ones that the SQuAD script removes.
    return unicodedata.category(char).startswith("P") or unicodedata.normalize("NFKC", char) in string.punctuation


def _gold(answers: list[str], rules: AnswerRules) -> list[str]:
    found = [normalize_answer(answer, rules) for answer in answers]
    if rules == "cmrc":
        return found or [""]
    return [answer for answer in found if answer] or [""]


def exact_match(prediction: str, answers: list[str], rules: AnswerRules = "squad") -> float:
    """Return 1 if a prediction equals one of the answers, or is empty if there are none (SQuAD 2.0), else 0."""
    return float(normalize_answer(prediction, rules) in _gold(answers, rules))


def f1(prediction: str, answers: list[str], rules: AnswerRules = "squad") -> float:
    """Return the highest F1 with one of the answers. Without answers, return 1 if the prediction is empty, else 0.

    F1 counts common tokens, in `cmrc` those of the longest common part.
    """
    gold = _gold(answers, rules)
    if rules == "cmrc" and answers:
        predicted = _cmrc_tokens(normalize_answer(prediction, rules))
        return max(_common_part(predicted, _cmrc_tokens(answer)) for answer in gold)
    predicted = normalize_answer(prediction, rules).split()
    return max(_overlap(predicted, answer.split()) for answer in gold)


def _overlap(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    return 2 * (Counter(predicted) & Counter(gold)).total() / (len(predicted) + len(gold))


@cache
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _words(text: str) -> list[str]:
    return [word for sentence in punkt(text) for word in _treebank().tokenize(sentence)]


def _cmrc_tokens(text: str) -> list[str]:
    """Split a text without the ignored punctuation into Chinese characters and words as of the Penn Treebank."""
    parts = CMRC_PARTS.findall(text)
    return [token for part in parts for token in ([part] if "\u4e00" <= part <= "\u9fa5" else _words(part))]


def _common_part(predicted: list[str], gold: list[str]) -> float:
    """Return the F1 of the longest sequence of tokens that both have."""
    longest, ends = 0, [0] * (len(gold) + 1)
    for token in predicted:
        ends = [0, *(before + 1 if token == other else 0 for before, other in zip(ends, gold, strict=False))]
        longest = max(longest, *ends)
    return 2 * longest / (len(predicted) + len(gold)) if longest else 0.0


def squad_scores(predictions: list[str], answers: list[list[str]], rules: AnswerRules = "squad") -> dict[str, float]:
    """Compute mean exact match and F1 as fractions.

    Args:
        predictions: Answer to each question, empty for no answer.
        answers: True answers of each question, empty if it has no answer.
        rules: The rules by which answers are compared.

    Returns:
        `exact_match` and `f1`. If some questions have no answer, also both with `_answerable` and `_unanswerable`.
    """
    rows = [
        (bool(gold), exact_match(prediction, gold, rules), f1(prediction, gold, rules))
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
    null_scores: list[float], predictions: list[str], answers: list[list[str]], rules: AnswerRules = "squad"
) -> tuple[float, float]:
    """Find the no-answer threshold with the highest F1 (SQuAD 2.0; Rajpurkar et al., 2018).

    Args:
        null_scores: Score of no answer minus the score of the prediction, for each question.
        predictions: Best non-empty answer to each question.
        answers: True answers of each question, empty if it has no answer.
        rules: The rules by which answers are compared.

    Returns:
        The threshold, and the mean F1 if questions are answered whose null score is at most the threshold. The threshold is
        below all null scores if no question should be answered.
    """
    rows = list(zip(null_scores, predictions, answers, strict=True))
    if not rows:
        return 0.0, 0.0
    unanswered = [f1("", gold, rules) for gold in answers]
    gains = [(score, f1(text, gold, rules) - base) for (score, text, gold), base in zip(rows, unanswered, strict=True)]
    total = best = sum(unanswered)
    threshold = min(null_scores) - 1.0
    for score, tied in groupby(sorted(gains), key=lambda gain: gain[0]):
        total += sum(gain for _, gain in tied)
        if total > best:
            threshold, best = score, total
    return threshold, best / len(rows)
