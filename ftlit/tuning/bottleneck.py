"""Small networks inside the layers of a frozen backbone."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ftlit.errors import UserError, near
from ftlit.tuning.base import Tuning, at_least, not_mergeable
from ftlit.tuning.layers import Role, layers_of

Place = Literal["attention", "feedforward"]
KINDS: dict[str, tuple[Place, ...]] = {"houlsby": ("attention", "feedforward"), "pfeiffer": ("feedforward",)}
OUTPUTS: dict[Place, Role] = {"attention": "attention_output", "feedforward": "feedforward_output"}


class Bottleneck(nn.Module):
    """Down, activation and up, added to the input: ``x + up(activation(down(x)))``, at first ``x``.

    Args:
        width: Width of the input.
        inner: Width of the middle.
        activation: A name of transformers, such as `relu` or `gelu`.
    """

    def __init__(self, width: int, inner: int, activation: str) -> None:
        from transformers.activations import ACT2FN

        super().__init__()
        self.down, self.up, self.activation = nn.Linear(width, inner), nn.Linear(inner, width), ACT2FN[activation]
        nn.init.normal_(self.down.weight, std=0.02)
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Vectors ``(batch, tokens, width)``, changed."""
        return hidden + self.up(self.activation(self.down(hidden)))


@dataclass(frozen=True)
class BottleneckAdapter(Tuning):
    """Small networks after the parts of each layer, before the residual connection; at the start they change nothing.

    Args:
        kind: `houlsby` puts one after attention and one after the feed-forward part (Houlsby et al., 2019), `pfeiffer` after
            the latter alone (Pfeiffer et al., 2021).
        reduction: The networks are so many times narrower than the backbone.
        activation: Name of a function of transformers, such as `gelu`, `relu` or `silu`.
        places: The parts of a layer that get one, `attention` and `feedforward`, where not those of `kind`.
    """

    kind: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    reduction: int = 16
    activation: str = "gelu"
    places: list[Place] | None = None

    def __post_init__(self) -> None:
        from transformers.activations import ACT2FN

        at_least("reduction", self.reduction, 1)
        if self.activation not in ACT2FN:
            known = sorted(ACT2FN)
            raise UserError(f"model.tuning.activation {self.activation!r} is not known. {near(self.activation, known)}")
        if self.places == []:
            raise UserError("model.tuning.places is empty; name attention, feedforward or both")

    def names(self, backbone: nn.Module) -> list[str]:
        """Names of the layers that get a network."""
        places = KINDS[self.kind] if self.places is None else self.places
        return [name for place in places for name in layers_of(backbone, OUTPUTS[place], "BottleneckAdapter")]

    def check(self, backbone: nn.Module) -> None:
        self.names(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        names = self.names(backbone)
        backbone.requires_grad_(False)
        for name in names:
            layer: Any = backbone.get_submodule(name)
            width = getattr(layer, "out_features", None) or layer.nf  # transformers' Conv1D has nf
            layer.adapter = Bottleneck(width, max(width // self.reduction, 1), self.activation)
            layer.register_forward_hook(_adapted)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        raise not_mergeable(self)


def _adapted(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    return layer.adapter(output)
