"""Shifts of rows with labels that are known: other shares of the labels, and texts with words deleted, moved or misspelt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftlit.data.rows.augment import RandomDeletion, RandomSwap
from ftlit.data.text.lexicon import join_words, split_words
from ftlit.insight.drift.accuracy import KnownShift, Scored, known_shift

ROWS = 1000  # of each shift for which the model runs again
LABELS = 4  # the most frequent labels, whose shares are shifted
Rewrite = Callable[[list[str], np.random.Generator], list[str]]


@dataclass(frozen=True)
class Misspelling:
    """Swaps two neighbouring letters inside of words.

    Args:
        probability: Probability of each word to be misspelt.
    """

    probability: float

    def augmented(self, texts: list[str], rng: np.random.Generator) -> list[str]:
        """A misspelt version of each text."""
        return [self._misspelt(text, rng) for text in texts]

    def _misspelt(self, text: str, rng: np.random.Generator) -> str:
        words, gaps = split_words(text)
        chosen = rng.random(len(words)) < self.probability
        return join_words([_swapped(word, rng) if swap else word for word, swap in zip(words, chosen, strict=True)], gaps)


def _swapped(word: str, rng: np.random.Generator) -> str:
    if len(word) < 2:
        return word
    i = int(rng.integers(len(word) - 1))
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


REWRITES: dict[str, Rewrite] = {
    "a fifth of the words deleted": lambda texts, rng: RandomDeletion(0.2).augmented(texts, rng, None),
    "half of the words deleted": lambda texts, rng: RandomDeletion(0.5).augmented(texts, rng, None),
    "words moved": lambda texts, rng: RandomSwap(0.5).augmented(texts, rng, None),
    "a fifth of the words misspelt": lambda texts, rng: Misspelling(0.2).augmented(texts, rng),
}


def known_shifts(
    found: Scored,
    classes: Sequence[Any],
    rewrite: Callable[[Rewrite, np.ndarray], Scored] | None,
    seed: int = 0,
) -> list[KnownShift]:
    """Shift one half of the rows with labels, and estimate its accuracy from the other half.

    Args:
        found: The rows with labels.
        classes: The label of each row.
        rewrite: Returns rows at some positions after a rewrite of their texts; None if texts cannot be rewritten.
        seed: Seed of the halves and shifts.
    """
    rng = np.random.default_rng(seed)
    source, target = np.array_split(rng.permutation(len(found)), 2)
    labels = np.array([str(name) for name in classes])[target]
    shifts = [known_shift("none", found[source], found[target])]
    for label in _most_frequent(labels):
        for name, share in _other_shares(label, float((labels == label).mean())):
            chosen = target[_with_share(labels == label, share, rng)]
            shifts.append(known_shift(name, found[source], found[chosen]))
    rewritten = {} if rewrite is None else {name: rewrite(how, target[:ROWS]) for name, how in REWRITES.items()}
    shifts += [known_shift(name, found[source], shifted) for name, shifted in rewritten.items()]
    return shifts


def _most_frequent(labels: np.ndarray) -> list[str]:
    names, counts = np.unique(labels, return_counts=True)
    most = min(LABELS, len(names) - 1)  # of two labels, the shares of one say all
    return names[np.argsort(-counts, kind="stable")][:most].tolist()


def _other_shares(label: str, share: float) -> list[tuple[str, float]]:
    """Half of the share of a label, and half of the way to all rows."""
    return [(f"{100 * other:.0f}% of the rows labelled {label}", other) for other in (share / 2, (1 + share) / 2)]


def _with_share(has: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of as many rows, drawn with replacement, so that a label has a share.

    Args:
        has: Whether each row has the label, ``(rows,)``.
        share: The share that it should have.
        rng: Random generator.
    """
    weights = np.where(has, share / has.sum(), (1 - share) / (~has).sum())
    return rng.choice(len(has), size=len(has), p=weights)
