"""Embeddings of tokens that the backbone was not pretrained with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftlit.errors import UserError

NOISE = 0.1  # of the spread of the pretrained vectors, so that the new tokens are not all alike


class ExtendedEmbedding(nn.Embedding):
    """A pretrained table of embeddings, and one of new tokens beside it.

    The pretrained rows stay one weight by their old name, which the tuning method may freeze; the rows of the new tokens
    are another, ``extra``, which begins near the mean of the pretrained ones (Hewitt, 2021).

    Args:
        base: The pretrained table, whose weight is shared.
        first: Id of the first new token; ids below and above the new ones are looked up in `base`.
        count: Number of new tokens.

    Raises:
        UserError: The backbone's embeddings do more than look up and scale.
    """

    def __init__(self, base: nn.Embedding, first: int, count: int) -> None:
        super().__init__(base.num_embeddings, base.embedding_dim, base.padding_idx, _weight=base.weight)
        if type(base).forward is not nn.Embedding.forward and not hasattr(base, "embed_scale"):
            raise UserError(
                f"tokens cannot be added to embeddings of the kind {type(base).__name__}; choose another model.backbone"
            )
        self.weight, self.first = base.weight, first  # the same object: optimizers and tied layers know it
        self.scale = float(getattr(base, "embed_scale", 1.0))  # Gemma and BART multiply what they look up
        with torch.no_grad():
            spread = base.weight.std(0) * torch.randn(count, base.embedding_dim)
            self.extra = nn.Parameter(base.weight.mean(0) + NOISE * spread)

    def forward(self, input: Tensor) -> Tensor:
        """Vectors ``(batch, tokens, width)`` of ids ``(batch, tokens)``."""
        place = input - self.first
        new = (place >= 0) & (place < len(self.extra))
        known = super().forward(input.masked_fill(new, 0))
        added = functional.embedding(place.clamp(0, len(self.extra) - 1), self.extra)
        return torch.where(new.unsqueeze(-1), added, known) * self.scale


def extend_embeddings(backbone: Any, ids: Sequence[int]) -> nn.Parameter:
    """Give a backbone embeddings of new tokens, and return them.

    Args:
        backbone: A model of transformers; its configuration stays as it is.
        ids: The tokens' ids, which follow each other.
    """
    if list(ids) != list(range(ids[0], ids[0] + len(ids))):
        raise UserError(f"the added tokens have the ids {ids}, which do not follow each other; choose another model.backbone")
    table = ExtendedEmbedding(backbone.get_input_embeddings(), ids[0], len(ids))
    backbone.set_input_embeddings(table)
    return table.extra
