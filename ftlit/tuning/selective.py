"""Methods that train some of the backbone's own weights."""

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ftlit.errors import UserError, near
from ftlit.models.backbones import depths, layer_stack
from ftlit.tuning.base import Tuning

Keep = Callable[[str], bool]


class Selective(Tuning):
    """Trains the weights whose names a method chooses."""

    embeddings: bool | None

    @abstractmethod
    def keep(self, backbone: nn.Module) -> Keep:
        """Tells of a weight's name whether it trains.

        Raises:
            UserError: The backbone has none of these weights.
        """

    def check(self, backbone: nn.Module) -> None:
        self.keep(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        keep, tables = self.keep(backbone), embedding_names(backbone)
        for name, weight in backbone.named_parameters():
            if not weight.requires_grad:  # no weight to be learned, such as positions that are a formula
                continue
            given = self.embeddings if name in tables else None
            weight.requires_grad_(keep(name) if given is None else given)
        return backbone


def embedding_names(backbone: nn.Module) -> set[str]:
    """Names of the weights of embedding tables: of words, positions and the like."""
    tables = [name for name, module in backbone.named_modules() if isinstance(module, nn.Embedding)]
    return {name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in tables}


@dataclass(frozen=True)
class Full(Selective):
    """Train every weight.

    Args:
        embeddings: Whether the embeddings train; false leaves them as they are, half the weights of a small model.
    """

    embeddings: bool | None = None

    tunes_pretrained_head = True

    @property
    def trains_everything(self) -> bool:
        return self.embeddings is not False

    def keep(self, backbone: nn.Module) -> Keep:
        return lambda name: True


@dataclass(frozen=True)
class Frozen(Selective):
    """Train the head alone on fixed features (linear probe); the backbone runs without dropout.

    Args:
        embeddings: Whether the embeddings train; null leaves it to the method.
    """

    embeddings: bool | None = None

    def keep(self, backbone: nn.Module) -> Keep:
        return lambda name: False

    def apply(self, backbone: nn.Module) -> nn.Module:
        backbone = super().apply(backbone)
        return backbone if self.embeddings else backbone.eval()


@dataclass(frozen=True)
class TopLayers(Selective):
    """Train the top layers, what follows them, and the head.

    Args:
        k: Number of layers that train, counted from the top.
        embeddings: Whether the embeddings train; null leaves it to the method.
    """

    k: int = 2
    embeddings: bool | None = None

    tunes_pretrained_head = True

    def keep(self, backbone: nn.Module) -> Keep:
        layers = len(layer_stack(backbone)[1])
        if not 0 <= self.k <= layers:
            raise UserError(f"model.tuning.k is {self.k}, but {type(backbone).__name__} has {layers} layers")
        depth = depths(backbone)
        return lambda name: depth[name] > layers - self.k


@dataclass(frozen=True)
class Select(Selective):
    """Train the weights whose names a pattern finds.

    Args:
        pattern: Regular expressions, one of which is found in the name of a weight that trains, such as
            `layer\\.5\\.` or `[query, value]`; names are those of `named_parameters()` of the backbone.
        embeddings: Whether the embeddings train; null leaves it to the pattern.
    """

    pattern: str | list[str]
    embeddings: bool | None = None

    def __post_init__(self) -> None:
        if not self.patterns or not all(self.patterns):
            raise UserError("model.tuning.pattern is empty; give one regular expression or several")
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"model.tuning.pattern {pattern!r} is no regular expression: {error}") from error

    @property
    def patterns(self) -> list[str]:
        """The expressions as a list."""
        return [self.pattern] if isinstance(self.pattern, str) else list(self.pattern)

    def keep(self, backbone: nn.Module) -> Keep:
        names = [name for name, _ in backbone.named_parameters()]
        for pattern in self.patterns:
            if not any(re.search(pattern, name) for name in names):
                parts = sorted({part for name in names for part in name.split(".") if not part.isdecimal()})
                raise UserError(
                    f"model.tuning.pattern {pattern!r} finds no weight of {type(backbone).__name__}. {near(pattern, parts)}"
                )
        return lambda name: any(re.search(pattern, name) for pattern in self.patterns)


@dataclass(frozen=True)
class BitFit(Selective):
    """Train the biases alone (Ben Zaken et al., 2022).

    Args:
        embeddings: Whether the embeddings train; null leaves it to the method.
    """

    embeddings: bool | None = None

    def keep(self, backbone: nn.Module) -> Keep:
        if not any(name.endswith("bias") for name, _ in backbone.named_parameters()):
            raise UserError(f"BitFit needs biases, and {type(backbone).__name__} has none; use LoRA or TopLayers")
        return lambda name: name.endswith("bias")


@dataclass(frozen=True)
class LayerNormTuning(Selective):
    """Train the scales and shifts of normalisation layers alone (Zhao et al., 2024).

    Args:
        embeddings: Whether the embeddings train; null leaves it to the method.
    """

    embeddings: bool | None = None

    def keep(self, backbone: nn.Module) -> Keep:
        norms = [name for name, module in backbone.named_modules() if "norm" in type(module).__name__.lower()]
        return lambda name: name.rpartition(".")[0] in norms
