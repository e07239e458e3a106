"""The explanation of one output of a model."""

from dataclasses import dataclass
from typing import Any

from ftlit.insight.explain.examples import Example
from ftlit.insight.explain.methods import TOLERANCE


@dataclass(frozen=True)
class Explanation:
    """What each word adds to an output.

    Args:
        row: Number of the row, from 0.
        id: Id of the row.
        example: What is explained.
        output: The output with all words.
        base: The output without any word.
        score: Its probability, or the predicted number.
        attributions: What each word adds, as the method has it.
        special: What tokens that are no words add.
        steps: Number of steps of integrated gradients, or None.
    """

    row: int
    id: Any
    example: Example
    output: float
    base: float
    score: float
    attributions: list[float]
    special: float
    steps: int | None

    @property
    def difference(self) -> float:
        """What all words add together: the output with them, less that without them."""
        return self.output - self.base

    @property
    def delta(self) -> float:
        """By how much the sum of the attributions exceeds the difference of the outputs."""
        return sum(self.attributions) + self.special - self.difference

    @property
    def complete(self) -> bool:
        """Whether the attributions add up to the difference of the outputs, to 1% of it."""
        return abs(self.delta) <= TOLERANCE * abs(self.difference)

    def record(self) -> dict[str, Any]:
        """Return the explanation as a plain object, as a line of explanations.jsonl has it."""
        example = self.example
        words = [
            {"text": word.text, "column": word.column, "start": word.start, "end": word.end, "attribution": value}
            for word, value in zip(example.words.words, self.attributions, strict=True)
        ]
        found = {
            "id": self.id,
            "target": example.target,
            "prediction": example.prediction,
            "score": self.score,
            "output": self.output,
            "difference": self.difference,
            "delta": self.delta,
            "special": self.special,
            **({} if self.steps is None else {"steps": self.steps}),
            **({"details": example.details} if example.details else {}),
            "words": words,
        }
        return {**found, "truncated": True} if example.truncated else found
