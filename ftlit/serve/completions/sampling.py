"""Each row of a batch is drawn by its own settings and seed, whatever else is in the batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


class Draw:
    """Draws the tokens of a text.

    Args:
        temperature: Divisor of the logits, above 0.
        top_p: Draw from the most probable tokens with this total probability.
        top_k: Draw from this many most probable tokens; 0 stands for all.
        seed: Seed, or None for another one each time.
        device: Device of the logits.
    """

    def __init__(self, temperature: float, top_p: float, top_k: int, seed: int | None, device: str) -> None:
        self.warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(float(temperature))]
        self.warpers += [TopKLogitsWarper(top_k)] if top_k else []
        self.warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
        self.generator = torch.Generator(device)
        self.generator.seed() if seed is None else self.generator.manual_seed(seed)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """The next token, ``(1, 1)``, for the tokens so far ``(1, tokens)`` and logits ``(1, vocabulary)``."""
        for warper in self.warpers:
            logits = warper(ids, logits)  # type: ignore[arg-type]
        return torch.multinomial(logits.softmax(-1), 1, generator=self.generator)


class RowSampler(LogitsProcessor):
    """Leaves a single token possible in each row that is drawn, so that a greedy search takes it.

    Args:
        draws: What draws each row, or None for rows that take the most probable token.
    """

    def __init__(self, draws: Sequence[Draw | None]) -> None:
        self.draws = draws

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        for i, draw in enumerate(self.draws):
            if draw is not None:
                token = draw(input_ids[i : i + 1], scores[i : i + 1])
                scores[i] = -torch.inf
                scores[i : i + 1].scatter_(1, token, 0.0)
        return scores
