"""Bottleneck adapters: small networks inside the layers of a frozen backbone."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ftlit.errors import UserError, near
from ftlit.tuning.base import Tuning, not_mergeable
from ftlit.tuning.layers import Role, layers_of

Location = Literal["attention", "feedforward"]
LOCATIONS_BY_KIND: dict[str, tuple[Location, ...]] = {"houlsby": ("attention", "feedforward"), "pfeiffer": ("feedforward",)}
OUTPUTS: dict[Location, Role] = {"attention": "attention_output", "feedforward": "feedforward_output"}


class Bottleneck(nn.Module):
    """A residual bottleneck network, ``x + up(activation(down(x)))``. Its initial output is ``x``.

    Args:
        width: Width of the input and the output.
        bottleneck_width: Width of the hidden layer.
        activation: Name of an activation function in transformers, such as `relu` or `gelu`.
    """

    def __init__(self, width: int, bottleneck_width: int, activation: str) -> None:
        from transformers.activations import ACT2FN

        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck_width), nn.Linear(bottleneck_width, width)
        self.activation = ACT2FN[activation]
        nn.init.normal_(self.down.weight, std=0.02)
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform hidden states ``(batch, tokens, width)``."""
        return hidden + self.up(self.activation(self.down(hidden)))


@dataclass(frozen=True)
class BottleneckAdapter(Tuning):
    """Train small networks inside each layer, before the residual connection. They start as the identity.

    Args:
        kind: Where the adapters are inserted. `houlsby` inserts one after attention and one after the feed-forward block
            (Houlsby et al., 2019), `pfeiffer` only the latter (Pfeiffer et al., 2021).
        reduction: The hidden layer of an adapter is this many times narrower than the backbone.
        activation: Name of an activation function in transformers, such as `gelu`, `relu` or `silu`.
        locations: Blocks of a layer that get an adapter (`attention`, `feedforward`). Overrides `kind`.
    """

    kind: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    reduction: int = 16
    activation: str = "gelu"
    locations: list[Location] | None = None

    def __post_init__(self) -> None:
        from transformers.activations import ACT2FN

        if self.activation not in ACT2FN:
            known = sorted(ACT2FN)
            raise UserError(f"model.tuning.activation {self.activation!r} is not known. {near(self.activation, known)}")
        if self.locations == []:
            raise UserError("model.tuning.locations is empty; name attention, feedforward or both")

    def names(self, backbone: nn.Module) -> list[str]:
        """Names of the linear layers that are followed by an adapter."""
        locations = LOCATIONS_BY_KIND[self.kind] if self.locations is None else self.locations
        return [name for location in locations for name in layers_of(backbone, OUTPUTS[location], "BottleneckAdapter")]

    def check(self, backbone: nn.Module) -> None:
        self.names(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        names = self.names(backbone)
        backbone.requires_grad_(False)
        for name in names:
            layer: Any = backbone.get_submodule(name)
            width = getattr(layer, "out_features", None) or layer.nf  # transformers' Conv1D has nf
            layer.adapter = Bottleneck(width, max(width // self.reduction, 1), self.activation)
            layer.register_forward_hook(_apply_adapter)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        raise not_mergeable(self)


def _apply_adapter(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    return layer.adapter(output)
