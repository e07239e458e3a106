"""Numbers of tokens of texts before anything is cut off, counted while a split is encoded and kept beside its features."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

LIMITS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
PERCENTILES = {"median": 50, "p95": 95, "longest": 100}


@dataclass
class PartLengths:
    """The lengths of one part of the texts of a split, such as their sources, their targets or their choices.

    Args:
        counts: Number of texts by their number of tokens.
        option: The option that limits their length, such as `max_length`; None if it limits several parts together.
        special: Number of special tokens among them.
        unknown: Number of tokens that stand for something the tokenizer does not know; None if it was not counted.
    """

    counts: Counter[int] = field(default_factory=Counter)
    option: str | None = None
    special: int = 0
    unknown: int | None = None

    def summary(self, limit: int | None) -> dict[str, Any]:
        """Percentiles of the lengths, the share of unknown tokens, and what is beyond each limit.

        Args:
            limit: Value of the option; None for a part that no option limits alone.
        """
        sizes, counts = (np.array(values, dtype=np.int64) for values in zip(*sorted(self.counts.items()), strict=True))
        points = np.percentile(np.repeat(sizes, counts), list(PERCENTILES.values())).astype(int).tolist()
        found: dict[str, Any] = dict(zip(PERCENTILES, points, strict=True))
        if self.unknown is not None:
            found["unknown"] = self.unknown / max(int((sizes * counts).sum()) - self.special, 1)
        if limit is not None:
            limits = sorted({*LIMITS, limit})
            found |= {"limit": limit, "beyond": {str(size): _beyond(sizes, counts, size) for size in limits}}
        return found


def _beyond(sizes: np.ndarray, counts: np.ndarray, limit: int) -> dict[str, float]:
    """The share of texts with more tokens than a limit, and the share of all tokens that lie beyond it."""
    over = np.maximum(sizes - limit, 0)
    return {
        "examples": float(counts[over > 0].sum() / counts.sum()),
        "tokens": float((over * counts).sum() / max((sizes * counts).sum(), 1)),
    }


class Lengths:
    """The lengths of each part of the texts of a split.

    Args:
        parts: The parts by name.
    """

    def __init__(self, parts: dict[str, PartLengths] | None = None) -> None:
        self.parts = parts or {}

    def add(
        self, part: str, sizes: Iterable[int], option: str | None = None, special: int = 0, unknown: int | None = None
    ) -> None:
        """Add texts to a part; the arguments are those of `PartLengths`."""
        found = self.parts.setdefault(part, PartLengths(option=option))
        found.counts.update(sizes)
        found.special += special
        if unknown is not None:
            found.unknown = (found.unknown or 0) + unknown

    def to_json(self) -> dict[str, Any]:
        """The parts as JSON holds them."""
        return {name: {**vars(part), "counts": dict(part.counts)} for name, part in self.parts.items()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Lengths":
        """The parts from JSON, whose keys are texts."""
        return cls(
            {name: PartLengths(**{**part, "counts": Counter({int(k): v for k, v in part["counts"].items()})})
             for name, part in found.items()}
        )  # fmt: skip


def unknown_id(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Id of the unknown token, or None without one or if it has another use, as in GPT-2."""
    unknown = tokenizer.unk_token_id
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    return None if unknown in others else unknown  # type: ignore[return-value]


def sequence_sizes(found: Any, sequence: int) -> list[int] | None:
    """Number of tokens of the first or second text of each pair, or None if the tokenizer, written in Python, does not say."""
    encodings = getattr(found, "encodings", None)
    return [encoding.sequence_ids.count(sequence) for encoding in encodings] if encodings else None


def token_lists(texts: Any) -> Any:
    """Arrow lists of tokens without the lists around them, such as those of the choices of a row."""
    import pyarrow.compute as pc

    return token_lists(pc.list_flatten(texts)) if hasattr(texts.type.value_type, "value_type") else texts


def most_tokens(features: "list[Dataset]") -> int:
    """Number of tokens of the longest text of some features; choices count as texts."""
    import pyarrow.compute as pc

    found = [rows.with_format("arrow")["input_ids"][:] for rows in features]
    return max(pc.max(pc.list_value_length(token_lists(texts))).as_py() for texts in found)
