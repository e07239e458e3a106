"""Methods that train some of the backbone's own weights."""

from dataclasses import dataclass

from torch import nn

from ftlit.backbones import depths, layer_stack
from ftlit.errors import UserError
from ftlit.tuning.base import Tuning


@dataclass(frozen=True)
class Full(Tuning):
    """Train every weight."""

    def apply(self, backbone: nn.Module) -> nn.Module:
        return backbone


@dataclass(frozen=True)
class Frozen(Tuning):
    """Train the head alone on fixed features (linear probe); the backbone runs without dropout."""

    def apply(self, backbone: nn.Module) -> nn.Module:
        return backbone.requires_grad_(False).eval()


@dataclass(frozen=True)
class TopLayers(Tuning):
    """Train the top layers, what follows them, and the head.

    Args:
        k: Number of layers that train, counted from the top.
    """

    k: int = 2

    def apply(self, backbone: nn.Module) -> nn.Module:
        layers = len(layer_stack(backbone)[1])
        if not 0 <= self.k <= layers:
            raise UserError(f"model.tuning.k is {self.k}, but {type(backbone).__name__} has {layers} layers")
        depth = depths(backbone)
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(depth[name] > layers - self.k)
        return backbone


@dataclass(frozen=True)
class BitFit(Tuning):
    """Train the biases alone (Ben Zaken et al., 2022)."""

    def apply(self, backbone: nn.Module) -> nn.Module:
        biases = [name for name, _ in backbone.named_parameters() if name.endswith("bias")]
        if not biases:
            raise UserError(f"BitFit needs biases, and {type(backbone).__name__} has none; use LoRA or TopLayers")
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(name.endswith("bias"))
        return backbone
