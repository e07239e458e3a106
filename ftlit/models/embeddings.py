"""Embeddings of tokens that are added to a pretrained backbone, and of tokens that it does not know."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ftlit.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOISE = 0.1  # relative to the spread of the pretrained vectors, so that new tokens differ from each other


class ScaledEmbedding(nn.Embedding):
    """An embedding table whose vectors are multiplied by a constant, as in Gemma and BART.

    Args:
        weight: The table, ``(tokens, width)``.
        padding_idx: Id of the padding token.
        scale: The constant.
    """

    def __init__(self, weight: Tensor, padding_idx: int | None, scale: float) -> None:
        super().__init__(len(weight), weight.shape[1], padding_idx, _weight=weight)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """Return embeddings ``(batch, tokens, width)`` of ids ``(batch, tokens)``."""
        return super().forward(input) * self.scale


class ExtendedEmbedding(nn.Embedding):
    """A pretrained embedding table with a second table for new tokens.

    The pretrained rows keep their parameter and its name, so that a tuning method can freeze them. The new rows are a
    separate parameter, ``extra``, initialized near the mean of the pretrained rows (Hewitt, 2021).

    Args:
        base: The pretrained table, whose weight is shared.
        first: Id of the first new token. All ids outside the new ones are looked up in `base`.
        count: Number of new tokens.

    Raises:
        UserError: If the backbone's embeddings do more than look up and scale.
    """

    def __init__(self, base: nn.Embedding, first: int, count: int) -> None:
        super().__init__(base.num_embeddings, base.embedding_dim, base.padding_idx, _weight=base.weight)
        if type(base).forward is not nn.Embedding.forward and not hasattr(base, "embed_scale"):
            raise UserError(
                f"tokens cannot be added to embeddings of type {type(base).__name__}; choose another model.backbone"
            )
        self.weight, self.first = base.weight, first  # the same object, which optimizers and tied layers hold
        self.scale = float(getattr(base, "embed_scale", 1.0))  # Gemma and BART multiply what they look up
        self.extra = _near_the_mean(base.weight, count)

    def forward(self, input: Tensor) -> Tensor:
        """Return embeddings ``(batch, tokens, width)`` of ids ``(batch, tokens)``."""
        position = input - self.first
        new = (position >= 0) & (position < len(self.extra))
        known = super().forward(input.masked_fill(new, 0))
        added = functional.embedding(position.clamp(0, len(self.extra) - 1), self.extra)
        return torch.where(new.unsqueeze(-1), added, known) * self.scale

    @torch.no_grad()
    def plain(self) -> nn.Embedding:
        """One table of both, which has room for all ids."""
        end = self.first + len(self.extra)
        weight = self.weight.new_zeros(max(self.num_embeddings, end), self.embedding_dim)
        weight[: self.num_embeddings], weight[self.first : end] = self.weight, self.extra
        if self.scale == 1:
            return nn.Embedding(len(weight), self.embedding_dim, self.padding_idx, _weight=weight)
        return ScaledEmbedding(weight, self.padding_idx, self.scale)


class ExtendedHead(nn.Linear):
    """The output layer of a pretrained language model with more rows for new tokens, as `ExtendedEmbedding` for its input.

    Args:
        base: The pretrained layer, whose weight is shared.
        first: Id of the first new token.
        extra: The new rows, ``(tokens, width)``.
        tied: Whether these are the rows of the input, too.
    """

    def __init__(self, base: nn.Linear, first: int, extra: nn.Parameter, tied: bool) -> None:
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        self.weight, self.bias = base.weight, base.bias  # the same objects, which optimizers and tied layers hold
        self.first, self.extra, self.tied = first, extra, tied

    def forward(self, input: Tensor) -> Tensor:
        """Return logits ``(..., vocabulary)`` of states ``(..., width)``."""
        known, added = super().forward(input), functional.linear(input, self.extra)
        return torch.cat([known[..., : self.first], added, known[..., self.first + len(self.extra) :]], -1)


def _near_the_mean(rows: Tensor, count: int) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(rows.mean(0) + NOISE * rows.std(0) * torch.randn(count, rows.shape[1]))


def extend_embeddings(backbone: Any, ids: Sequence[int]) -> nn.Parameter:
    """Add embeddings of new tokens to a backbone and return them.

    Args:
        backbone: A transformers model. Its configuration is not changed.
        ids: Consecutive ids of the new tokens.

    Raises:
        UserError: If the ids are not consecutive.
    """
    if list(ids) != list(range(ids[0], ids[0] + len(ids))):
        raise UserError(f"the added tokens have ids {ids}, which are not consecutive; choose another model.backbone")
    table = ExtendedEmbedding(backbone.get_input_embeddings(), ids[0], len(ids))
    backbone.set_input_embeddings(table)
    return table.extra


def extend_head(model: Any, ids: Sequence[int]) -> nn.Parameter:
    """Add rows of new tokens to the output layer of a language model with an extended embedding, and return them.

    Args:
        model: A transformers model with its output layer. The size of its vocabulary grows.
        ids: Consecutive ids of the new tokens.

    Raises:
        UserError: If the output layer cannot be extended.
    """
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(head) is not nn.Linear or ids[0] > head.out_features:
        raise UserError(f"data.add_tokens: tokens cannot be added to the output of {type(model).__name__}; remove them")
    tied = head.weight is table.weight
    extra = table.extra if tied else _near_the_mean(head.weight, len(ids))
    model.set_output_embeddings(ExtendedHead(head, ids[0], extra, tied))
    config = model.config.get_text_config()
    config.vocab_size = max(config.vocab_size, ids[-1] + 1)
    return extra


def add_tokens(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[str]) -> list[int]:
    """Add special tokens to a tokenizer, and return the ids of those that it did not have.

    Raises:
        UserError: If one of them is no token.
    """
    from tokenizers import AddedToken

    if wrong := [token for token in tokens if not token or token != token.strip()]:
        raise UserError(f"data.add_tokens holds {wrong[0]!r}; expected texts that do not begin or end with white space")
    new = [token for token in dict.fromkeys(tokens) if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens], special_tokens=True)
    return tokenizer.convert_tokens_to_ids(new)  # type: ignore[return-value]


def with_tokens(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[str] | None) -> "PreTrainedTokenizerBase":
    """The tokenizer with special tokens added, see `add_tokens`."""
    if tokens:
        add_tokens(tokenizer, tokens)
    return tokenizer


def check_token_ids(ids: np.ndarray, table: Any, tokenizer: "PreTrainedTokenizerBase", backbone: str) -> None:
    """Check that a model has an embedding for each token.

    Args:
        ids: Ids of tokens, ``(tokens,)``.
        table: The embeddings.
        tokenizer: The tokenizer, for the message.
        backbone: Name of the model, for the message.

    Raises:
        UserError: A token has no embedding.
    """
    unknown = ids[ids >= len(table.weight)]
    if isinstance(table, ExtendedEmbedding):
        unknown = unknown[(unknown < table.first) | (unknown >= table.first + len(table.extra))]
    if len(unknown):
        raise UserError(
            f"the tokenizer of {backbone!r} gives the token {tokenizer.convert_ids_to_tokens(int(unknown[0]))!r} the id "
            f"{unknown[0]}, but the model has embeddings of {len(table.weight)} tokens only: they do not belong together; use "
            "the tokenizer that the model was trained with"
        )
