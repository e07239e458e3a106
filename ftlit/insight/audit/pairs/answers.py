"""How much two answers of a model differ, by the kind of evidence that they are."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ftlit.metrics.ngrams import chrf_metric
from ftlit.metrics.squad import default_rules, exact_match, f1

Answer = dict[str, Any]  # a prediction with all its scores
NUMBER, WORDS = "the number", "words"  # names of what is no label


@dataclass(frozen=True)
class Difference:
    """How much two answers differ.

    Args:
        distance: From 0 for the same answer to 1; of numbers, in standard deviations of train.
        changed: Whether the prediction is another one.
        scores: By how much each score rose, by the name of the label.
    """

    distance: float
    changed: bool
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparer:
    """Compares answers of one run.

    Args:
        kind: Kind of evidence that they are.
        scale: Standard deviation of the numbers of train, if the run predicts numbers.
        tolerance: By how much a number may differ and still count as the same, in these deviations.
    """

    kind: str
    scale: float = 1.0
    tolerance: float = 0.1

    def __call__(self, before: Answer, after: Answer, words: Mapping[str, str] = {}) -> Difference:
        """Compare two answers.

        Args:
            before: The answer to a text.
            after: The answer to the changed text.
            words: The words that were replaced in the text by others, which an answer that repeats them may replace, too.
        """
        return KINDS[self.kind](self, before, after, words)


def _labels(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    one, other = before["scores"], after["scores"]
    gaps = {name: other[name] - score for name, score in one.items()}
    several = isinstance(before["prediction"], list)
    distance = max(map(abs, gaps.values()), default=0.0) if several else sum(map(abs, gaps.values())) / 2
    return Difference(distance, _plain(before["prediction"]) != _plain(after["prediction"]), gaps)


def _plain(answer: Any) -> Any:
    return frozenset(answer) if isinstance(answer, list) else answer


def _choices(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    gaps = [b - a for a, b in zip(before["scores"], after["scores"], strict=True)]
    return Difference(sum(map(abs, gaps)) / 2, before["index"] != after["index"])


def _values(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    gap = (after["prediction"] - before["prediction"]) / how.scale
    return Difference(abs(gap), abs(gap) > how.tolerance, {NUMBER: gap})


def _tags(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    one, other = (answer["tags"] if "tags" in answer else answer["prediction"] for answer in (before, after))
    if len(one) == len(other):
        apart = sum(a != b for a, b in zip(one, other, strict=True)) / max(len(one), 1)
        return Difference(apart, one != other)
    kinds = [Counter(tag for tag in tags if tag != "O") for tags in (one, other)]  # the words are others
    apart = sum(((kinds[0] - kinds[1]) + (kinds[1] - kinds[0])).values()) / max(sum((kinds[0] + kinds[1]).values()), 1)
    return Difference(apart, kinds[0] != kinds[1])


def _answers(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    one, other = _replaced(before["prediction"], words), after["prediction"]
    rules = default_rules([[one], [other]])
    return Difference(1.0 - f1(other, [one], rules), exact_match(other, [one], rules) == 0)


def _texts(how: Comparer, before: Answer, after: Answer, words: Mapping[str, str]) -> Difference:
    one, other = _replaced(before["prediction"], words), after["prediction"]
    longer = float(len(other.split()) - len(one.split()))
    return Difference(1 - text_likeness(one, other), one.split() != other.split(), {WORDS: longer})


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """A text with other words in the places of some, so that an answer that repeats a swapped word is not another one."""
    if not words:
        return text
    parts = sorted(map(re.escape, words), key=len, reverse=True)
    bounded = (rf"(?<!\w){part}(?!\w)" if part.isascii() else part for part in parts)  # Chinese has no spaces
    return re.sub("|".join(bounded), lambda match: words[match[0]], text)


@cache
def _chrf() -> Any:
    return chrf_metric([])


def text_likeness(one: str, other: str) -> float:
    """The chrF between two texts (Popović, 2015) from 0 to 1, the mean of both directions; 1 for two empty texts."""
    if one.split() == other.split():
        return 1.0
    return sum(_chrf().sentence_score(a, [b]).score for a, b in ((one, other), (other, one))) / 200


KINDS: dict[str, Callable[[Comparer, Answer, Answer, Mapping[str, str]], Difference]] = {
    "labels": _labels,
    "relations": _labels,
    "choices": _choices,
    "values": _values,
    "tags": _tags,
    "answers": _answers,
    "texts": _texts,
    "replies": _texts,
}
DISTANCES = {
    "labels": "half the sum of the differences of the probabilities, or with several labels a text the largest of them",
    "relations": "half the sum of the differences of the probabilities",
    "choices": "half the sum of the differences of the probabilities",
    "values": "the difference in standard deviations of train",
    "tags": "the share of words with another tag",
    "answers": "1 minus the F1 of the words",
    "texts": "1 minus chrF between the texts",
    "replies": "1 minus chrF between the texts",
}
