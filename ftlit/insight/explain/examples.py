"""What is explained: outputs of a model for sequences of tokens, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ftlit.insight.explain.words import SPECIAL, Words
from ftlit.util.batch import IGNORED, pad

FILLERS = {"token_type_ids": 0, "labels": IGNORED}  # of columns with a number for each token, beside input_ids
NO_AIM = -1  # filler of aims that are lists


@dataclass(frozen=True)
class Example:
    """An output of a model that is explained.

    Args:
        row: Position of its row.
        target: What the output stands for, such as a label.
        prediction: The prediction for the row.
        features: Inputs of the model: ``input_ids``, and other columns of `FILLERS` or with one list of a fixed length.
        aims: What the measure of the task needs to find the output: numbers or lists of numbers.
        words: The words of its tokens.
        truncated: Whether the row was too long for the model.
        details: More about the target, such as its place in the text.
    """

    row: int
    target: str
    prediction: Any
    features: dict[str, list[int]]
    aims: dict[str, Any]
    words: Words
    truncated: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Number of its tokens."""
        return len(self.features["input_ids"])


@dataclass(frozen=True)
class Batch:
    """Examples as tensors.

    Args:
        inputs: Inputs of the model by name, ``(examples, ...)``.
        aims: The aims by name, ``(examples, ...)``.
        of_tokens: The word of each token, or -1 for special tokens and padding, ``(examples, tokens)``.
        counts: Number of words of each example, ``(examples,)``.
    """

    inputs: dict[str, Tensor]
    aims: dict[str, Tensor]
    of_tokens: Tensor
    counts: Tensor

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def words(self) -> int:
        """The largest number of words of an example, at least 1."""
        return max(int(self.counts.max()), 1)

    @property
    def exists(self) -> Tensor:
        """Whether each example has a word at each position, ``(examples, words)``."""
        return torch.arange(self.words, device=self.counts.device) < self.counts.unsqueeze(1)

    def taken(self, rows: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return inputs and aims of some examples, which may repeat, by their positions ``(some,)``."""
        return ({k: v[rows] for k, v in self.inputs.items()}, {k: v[rows] for k, v in self.aims.items()})

    def by_word(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sum values of tokens over words.

        Args:
            values: A number for each token, ``(examples, tokens)``.

        Returns:
            Those of words, ``(examples, words)``, and the sum over special tokens, ``(examples,)``.
        """
        real = self.inputs["attention_mask"].to(values.dtype)
        sums = values.new_zeros(len(self), self.words + 1).scatter_add(1, self.of_tokens + 1, values * real)
        return sums[:, 1:], sums[:, 0]

    def by_token(self, present: Tensor, rows: Tensor) -> Tensor:
        """Return whether tokens are kept, as their words are; special tokens always are.

        Args:
            present: Whether each word is kept, ``(some, words)``.
            rows: The examples that these are, ``(some,)``.
        """
        always = torch.ones_like(present[:, :1])
        return torch.cat([always, present], 1).gather(1, self.of_tokens[rows] + 1).bool()


def batch_of(examples: Sequence[Example], pad_token_id: int, device: str) -> Batch:
    """Return examples as tensors on a device."""
    ids = [example.features["input_ids"] for example in examples]
    inputs = {"input_ids": pad(ids, pad_token_id), "attention_mask": pad([[1] * len(row) for row in ids], 0)}
    for name in examples[0].features.keys() - {"input_ids"}:
        values = [example.features[name] for example in examples]
        inputs[name] = pad(values, FILLERS[name]) if name in FILLERS else torch.tensor(values)
    words = [example.words for example in examples]
    return Batch(
        {name: values.to(device) for name, values in inputs.items()},
        {name: _aims([example.aims[name] for example in examples]).to(device) for name in examples[0].aims},
        pad([found.of_tokens for found in words], SPECIAL).to(device),
        torch.tensor([len(found.words) for found in words], device=device),
    )


def _aims(values: list[Any]) -> Tensor:
    return pad(values, NO_AIM) if isinstance(values[0], list) else torch.tensor(values)
