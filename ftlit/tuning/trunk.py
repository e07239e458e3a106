"""The trunk: the lowest layers of a backbone as long as nothing in them trains.

A trunk computes the same hidden states for a text again and again, so it runs without dropout, and its states can be kept.
Layers that will be unfrozen in a later stage belong to it until then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.models.layer_depths import depths, layer_stack
from ftlit.models.replay import replayed
from ftlit.tuning.base import is_scheduled
from ftlit.tuning.prompted_backbone import PromptedBackbone


@dataclass(frozen=True)
class States:
    """The stored hidden states of a split.

    Args:
        read: Returns those of a batch, ``(texts, tokens, width)``.
        forms: The forms in which the layers return them.
    """

    read: Callable[[dict[str, Any]], Tensor]
    forms: list[int | None]


class Trunk:
    """Knows the trunk of a task's backbone, keeps it without dropout, and gives stored states to forward passes."""

    def __init__(self) -> None:
        self.layers: list[nn.Module] = []
        self.stored: dict[str, States] = {}  # by split; filled during a run
        self.digest = ""  # of its weights, once it has been computed
        self._resting: dict[int, nn.Module] = {}  # by id, since metrics redefine equality

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def settle(self, backbone: nn.Module) -> None:
        """Find the trunk again, since other weights train now than before."""
        layers = trunk_layers(backbone)
        if layers != self.layers:
            self.layers, self.stored, self.digest = layers, {}, ""
        parts = trunk_parts(backbone, layers)
        found = {id(part): part for part in parts if part.training or id(part) in self._resting}
        for part in self._resting.values():
            part.training = True
        for part in found.values():
            part.training = False
        self._resting = found

    def rests(self, part: nn.Module) -> bool:
        """Whether a module would have dropout if it did not belong to the trunk."""
        return id(part) in self._resting

    @contextmanager
    def skipped(self, batch: dict[str, Any]) -> Iterator[None]:
        """Inside, forward passes of a batch take the states of the trunk from the store, if they are there."""
        found = self.stored.get(batch.get("split", ""))
        if found is None:
            yield
            return
        with replayed(self.layers, found.read(batch), found.forms):
            yield


def trunk_layers(backbone: nn.Module) -> list[nn.Module]:
    """Return the lowest layers below which nothing trains, bottom first; none for encoder-decoder models and prompts."""
    if isinstance(backbone, PromptedBackbone) or getattr(getattr(backbone, "config", None), "is_encoder_decoder", False):
        return []
    try:
        _, stack = layer_stack(backbone)
    except UserError:
        return []
    depth = depths(backbone)
    trained = [depth[name] for name, weight in backbone.named_parameters() if weight.requires_grad and not is_scheduled(weight)]
    return list(stack)[: max(min(trained, default=len(stack) + 1) - 1, 0)]


def trunk_parts(backbone: nn.Module, layers: list[nn.Module]) -> list[nn.Module]:
    """Return the modules of a trunk: its layers with all inside, and what is registered before the stack of layers."""
    if not layers:
        return []
    prefix, _ = layer_stack(backbone)
    found: list[nn.Module] = []
    for name, part in backbone.named_modules():
        if name == prefix:
            break
        if not prefix.startswith(f"{name}.") and name:
            found.append(part)
    return [*found, *(part for layer in layers for part in layer.modules())]
