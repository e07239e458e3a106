"""Take hidden states out of a forward pass, and give them to another one in place of the layers that computed them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Passage:
    """What layers returned in a forward pass.

    Args:
        hidden: The hidden states after the last of them, ``(texts, tokens, width)``.
        forms: For each layer, the number of values that it returns as a tuple, or None if it returns the hidden states alone.
        calls: How often each layer was called.
    """

    hidden: Tensor | None
    forms: list[int | None]
    calls: list[int]


class Reached(Exception):  # noqa: N818  # not an error: it ends a forward pass early
    """The last layer whose output is wanted has been computed."""


def observed(layers: Sequence[nn.Module], call: Callable[[], Any], stop: bool = True) -> Passage:
    """Run a forward pass and return what layers returned in it.

    Args:
        layers: The lowest layers of a backbone, bottom first.
        call: The forward pass.
        stop: Whether it ends after the last of these layers.
    """
    found = Passage(None, [None] * len(layers), [0] * len(layers))

    def observing(i: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            found.forms[i] = len(output) if isinstance(output, tuple) else None
            found.calls[i] += 1
            if i == len(layers) - 1:
                found.hidden = output[0] if isinstance(output, tuple) else output
                if stop:
                    raise Reached
            return output

        return run

    with suppress(Reached), _replaced(layers, observing):
        call()
    return found


@contextmanager
def replayed(layers: Sequence[nn.Module], hidden: Tensor, forms: Sequence[int | None]) -> Iterator[None]:
    """Inside, layers return hidden states instead of computing theirs.

    Args:
        layers: The lowest layers of a backbone, bottom first.
        hidden: The hidden states after the last of them, ``(texts, tokens, width)``.
        forms: The forms in which they return them, from `observed`. Further values in a tuple become None.
    """

    def replaying(i: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        count = forms[i]
        output = hidden if count is None else (hidden, *[None] * (count - 1))
        return lambda *args, **kwargs: output

    with _replaced(layers, replaying):
        yield


@contextmanager
def _replaced(
    layers: Sequence[nn.Module], replacement: Callable[[int, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Replace the ``forward`` of each layer inside; hooks and weights stay."""
    earlier: list[Any] = [vars(layer).get("forward") for layer in layers]  # that of gradient checkpointing, say
    try:
        for i, layer in enumerate(layers):
            layer.forward = replacement(i, layer.forward)
        yield
    finally:
        for layer, forward in zip(layers, earlier, strict=True):
            vars(layer).pop("forward", None)
            if forward is not None:
                layer.forward = forward
