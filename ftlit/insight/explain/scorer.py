"""Outputs of a model for embeddings of tokens in place of the tokens themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.insight.explain.examples import Batch

# From inputs of a model and aims to the output that is explained, and to the probability or number that users know; both
# (examples,).
Measure = Callable[[dict[str, Tensor], dict[str, Tensor]], tuple[Tensor, Tensor]]


class Scorer:
    """Computes the outputs of examples whose words are partly replaced, by way of a model's layer of input embeddings.

    The layer is called with the tokens as always, and returns other vectors. So whatever else the model reads from the tokens,
    such as their positions or where a text ends, stays as it is, and learned prompts, adapters and all heads are part of it.

    Args:
        backbone: The model, or the part of it that holds the embeddings.
        measure: Computes the outputs.
        stand_in: Id of the token that stands in for words that are removed.
        writes: Whether the model writes texts, so that its decoder reads other tokens than its encoder.
    """

    def __init__(self, backbone: Any, measure: Measure, stand_in: int, writes: bool = False) -> None:
        self.tables = input_tables(backbone)
        self.measure, self.stand_in, self.writes = measure, stand_in, writes

    @torch.no_grad()
    def embedded(self, batch: Batch) -> Tensor:
        """Return the embeddings of a batch in float32, ``(examples, tokens, width)``."""
        return self.tables[0](batch.inputs["input_ids"]).float()

    @torch.no_grad()
    def bare(self, batch: Batch) -> Tensor:
        """Return the embeddings of a batch without words, ``(examples, tokens, width)``."""
        ids = batch.inputs["input_ids"].masked_fill(batch.of_tokens >= 0, self.stand_in)
        return self.tables[0](ids).float()

    def __call__(self, embedded: Tensor, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the outputs and probabilities of some examples with other embeddings, ``(some,)`` each.

        Args:
            embedded: The embeddings, ``(some, tokens, width)``.
            rows: The examples that these are, ``(some,)``.
            batch: All examples.
        """
        inputs, aims = batch.taken(rows)
        with self._replaced(inputs["input_ids"], embedded):
            output, chance = self.measure(inputs, aims)
        return output.float(), chance.float()

    @contextmanager
    def _replaced(self, ids: Tensor, embedded: Tensor) -> Iterator[None]:
        """Let the layers of embeddings return these vectors for these tokens.

        Raises:
            UserError: They were not asked for them.
        """
        done: list[nn.Module] = []

        def replace(table: nn.Module, given: Any, output: Any) -> Any:
            asked = given[0] if given else None
            if not isinstance(asked, Tensor) or asked.shape != ids.shape or (done and self.writes):
                return output
            if torch.equal(asked, ids):
                done.append(table)
                return embedded.to(output.dtype)
            if not self.writes and torch.equal(asked[:, 1:], ids[:, :-1]):  # a decoder that reads the text of its encoder
                return torch.cat([output[:, :1], embedded[:, :-1].to(output.dtype)], 1)
            return output

        handles = [table.register_forward_hook(replace) for table in self.tables]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if not done:
            raise UserError("explain needs a backbone that looks up its tokens in one table of embeddings; this one does not")


def input_tables(backbone: Any) -> list[nn.Module]:
    """Return the layers that look up tokens in a backbone, that of an encoder first."""
    stacks = [getattr(backbone, "encoder", None), backbone, getattr(backbone, "decoder", None)]
    found = [table for stack in stacks if (table := _table(stack)) is not None]
    return list(dict.fromkeys(found))


def _table(stack: Any) -> nn.Module | None:
    """The input embeddings of a model of transformers; None for other modules."""
    try:
        return stack.get_input_embeddings() if hasattr(stack, "get_input_embeddings") else None
    except NotImplementedError:
        return None
