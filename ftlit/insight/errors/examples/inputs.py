"""What is counted in the input of each example."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.data.text.lengths import unknown_id
from ftlit.insight.errors.slices.features import Feature, binned, flags
from ftlit.metrics.evidence.rows import Rows, input_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t)\b|[不没沒無无未]", re.IGNORECASE
)
DIGIT = re.compile(r"\d")


class Inputs:
    """The properties of inputs, collected a part at a time.

    Args:
        tokenizer: The tokenizer of the backbone; None if it cannot be opened.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        self.tokenizer, self.unknown = tokenizer, None if tokenizer is None else unknown_id(tokenizer)
        self.parts: list[np.ndarray] = []

    def add(self, rows: Rows) -> None:
        """Count in the inputs of more examples."""
        if not rows:
            return
        texts = [input_text(row) for row in rows]
        counted = [[*text_numbers(text), entity_density(row)] for text, row in zip(texts, rows, strict=True)]
        self.parts.append(np.column_stack([np.array(counted), self._unknown_shares(texts)]))

    def _unknown_shares(self, texts: Sequence[str]) -> np.ndarray:
        if self.tokenizer is None or self.unknown is None:
            return np.full(len(texts), np.nan)
        found = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return np.array([ids.count(self.unknown) / max(len(ids), 1) for ids in found])  # type: ignore[union-attr]

    def features(self) -> list[Feature]:
        """The properties of all examples, without those that are the same for all."""
        length, negation, digits, capitals, entities, unknown = np.concatenate(self.parts).T
        tagged = bool(np.isfinite(entities).all())
        shares: dict[str, np.ndarray] = {"unknown tokens": unknown}
        shares |= {} if tagged else {"words with a capital": capitals}
        found = [
            binned("length", length, "characters"),
            *(binned(name, np.round(100 * values, 1), "%") for name, values in shares.items() if np.isfinite(values).any()),
            *([binned("entities", np.round(entities), "per 100 words")] if tagged else []),
            flags("negation", negation),
            flags("digits", digits),
        ]
        return [feature for feature in found if len(np.unique(feature.codes)) > 1]


def text_numbers(text: str) -> tuple[float, ...]:
    """What is counted in a text.

    Returns:
        Its length in characters, whether it has a negation (English or Chinese), whether it has a digit, and the share of its
        words that begin with a capital, where the first word does not count.
    """
    words = text.split()[1:]
    capitals = sum(word[0].isupper() for word in words) / max(len(words), 1)
    return len(text), NEGATION.search(text) is not None, DIGIT.search(text) is not None, capitals


def entity_density(row: dict[str, Any]) -> float:
    """Entities of an example with tagged words, per 100 words; NaN for others."""
    return 100 * len(row["label"]) / max(len(row["tags"]), 1) if "tags" in row else float("nan")
