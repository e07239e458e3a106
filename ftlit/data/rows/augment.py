"""Augmentation of training texts.

Deletion, swaps and synonyms are those of Wei and Zou (2019, "EDA: Easy Data Augmentation Techniques for Boosting
Performance on Text Classification Tasks"); back-translation is that of Sennrich et al. (2016).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ftlit.data.text.lexicon import compounds, join_words, read_lexicon, split_words, synonyms_of
from ftlit.errors import UserError
from ftlit.util.arguments.checked import CheckedArguments

if TYPE_CHECKING:
    from datasets import Dataset


class Augmentation(metaclass=CheckedArguments):
    """A way to change texts without changing, or hardly changing, their meaning."""

    config_key: ClassVar[str] = "data.augment"

    @abstractmethod
    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        """A new version of each text, never empty; a text of one word is not changed.

        Args:
            texts: The texts.
            rng: Random generator.
            mask_token: The tokenizer's mask token, if it has one.
        """


@dataclass(frozen=True)
class RandomDeletion(Augmentation):
    """Deletes words at random.

    Args:
        probability: Probability of each word to be deleted.
    """

    probability: float = 0.1

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        return [self._shortened(text, rng) for text in texts]

    def _shortened(self, text: str, rng: np.random.Generator) -> str:
        words, gaps = split_words(text)
        gone = _drawn(len(words), self.probability, rng)
        kept = [i for i in range(len(words)) if i not in gone]
        return join_words([words[i] for i in kept], [gaps[i] for i in kept])


@dataclass(frozen=True)
class RandomSwap(Augmentation):
    """Swaps two words, several times.

    Args:
        share: Number of swaps as a share of the number of words; at least one swap is made.
    """

    share: float = 0.1

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        return [self._swapped(text, rng) for text in texts]

    def _swapped(self, text: str, rng: np.random.Generator) -> str:
        words, gaps = split_words(text)
        if len(words) < 2:
            return text
        count = _count(self.share, len(words))
        first, distance = rng.integers(len(words), size=count), rng.integers(1, len(words), size=count)
        for i, j in zip(first, (first + distance) % len(words), strict=True):
            words[i], words[j] = words[j], words[i]
        return join_words(words, gaps)


@dataclass(frozen=True)
class SynonymReplacement(Augmentation):
    """Replaces words by synonyms from a lexicon.

    Args:
        lexicon: Text file with a line for each word (the word, a tab, and its synonyms separated by commas), or a .json file
            with an object from words to lists of synonyms.
        share: Share of the words of a text to replace; at least one word, if the lexicon has any of them.
    """

    lexicon: str
    share: float = 0.1

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        synonyms, longest = read_lexicon(self.lexicon)
        return [self._replaced(text, synonyms, longest, rng) for text in texts]

    def _replaced(self, text: str, synonyms: dict[str, list[str]], longest: int, rng: np.random.Generator) -> str:
        words, gaps = split_words(text)
        if "" in gaps[:-1]:  # the words are characters
            words, gaps = compounds(words, gaps, synonyms, longest)
        choices = {i: found for i, word in enumerate(words) if (found := synonyms_of(word, synonyms))}
        if len(words) > 1:
            for i in rng.permutation(list(choices))[: _count(self.share, len(words))]:
                words[i] = choices[i][rng.integers(len(choices[i]))]
        return join_words(words, gaps)


@dataclass(frozen=True)
class TokenMasking(Augmentation):
    """Replaces words by the tokenizer's mask token.

    Args:
        probability: Probability of each word to be masked.
        mask: The word that replaces a masked word; by default the tokenizer's mask token.
    """

    probability: float = 0.1
    mask: str | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and not self.mask.strip():
            raise UserError(
                f"data.augment: TokenMasking.mask must be a word, got {self.mask!r}; to delete words, use RandomDeletion"
            )

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        mask = self.mask or mask_token
        if not mask:
            raise UserError(
                "data.augment: TokenMasking needs a mask token, and the tokenizer of model.backbone has none; "
                "set its mask to a word such as '_', or use RandomDeletion"
            )
        return [self._masked(text, mask, rng) for text in texts]

    def _masked(self, text: str, mask: str, rng: np.random.Generator) -> str:
        words, gaps = split_words(text)
        hidden = _drawn(len(words), self.probability, rng)
        return join_words([mask if i in hidden else word for i, word in enumerate(words)], gaps)


def augment_rows(
    rows: Dataset, columns: list[str], augmentations: list[Augmentation], copies: int, seed: int, mask_token: str | None
) -> Dataset:
    """The rows, followed by new versions of them with the ids ``<row_id>#1``, ``<row_id>#2``, ...

    A version that is equal to its original or to an earlier version of it is left out.

    Args:
        rows: Rows with a column ``row_id``.
        columns: The columns with texts to change; all others are copied.
        augmentations: The augmentations, applied to each text in this order.
        copies: Number of new versions of each row.
        seed: Seed of the augmentations; more copies do not change the first ones.
        mask_token: The tokenizer's mask token, if it has one.
    """
    if copies < 1 or not augmentations or not len(rows):
        return rows
    texts = [list(rows[column]) for column in columns]
    new = [text for column in texts for text in column] * copies
    for i, augmentation in enumerate(augmentations):
        new = augmentation.augmented(new, np.random.default_rng([seed, i]), mask_token)
    parts = [new[start : start + len(rows)] for start in range(0, len(new), len(rows))]
    versions = [list(chain(*parts[j :: len(columns)])) for j in range(len(columns))]
    kept = _different(list(zip(*texts, strict=True)), list(zip(*versions, strict=True)))
    chosen = {column: [values[i] for i in kept] for column, values in zip(columns, versions, strict=True)}
    return _appended(rows, chosen, kept) if kept else rows


def _different(originals: list[tuple[str, ...]], versions: list[tuple[str, ...]]) -> list[int]:
    """Positions of the versions that are new; version ``i`` belongs to original ``i % len(originals)``."""
    seen = [{tuple(" ".join(text.split()) for text in texts)} for texts in originals]
    kept = []
    for i, texts in enumerate(versions):
        version, known = tuple(" ".join(text.split()) for text in texts), seen[i % len(originals)]
        if version not in known:
            known.add(version)
            kept.append(i)
    return kept


def _appended(rows: Dataset, texts: dict[str, list[str]], kept: list[int]) -> Dataset:
    import datasets

    copied: dict[str, list[Any]] = rows[[i % len(rows) for i in kept]]
    names = [f"{name}#{i // len(rows) + 1}" for name, i in zip(copied["row_id"], kept, strict=True)]
    made = datasets.Dataset.from_dict({**copied, **texts, "row_id": names}, features=rows.features)
    return datasets.concatenate_datasets([rows, made])


def _count(share: float, words: int) -> int:
    return max(1, round(share * words))


def _drawn(words: int, probability: float, rng: np.random.Generator) -> set[int]:
    """Positions drawn independently of each other; if all were drawn, a random one is spared."""
    draws = rng.random(words)
    drawn = set(np.flatnonzero(draws < probability).tolist())
    return drawn - {int(draws.argmax())} if words and len(drawn) == words else drawn
