"""Methods that train a subset of the backbone's own weights."""

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ftlit.errors import UserError, near
from ftlit.models.layer_depths import depths, layer_stack
from ftlit.tuning.base import Tuning

Predicate = Callable[[str], bool]


class Selective(Tuning):
    """Base class of methods that select weights by name."""

    embeddings: bool | None

    @abstractmethod
    def selects(self, backbone: nn.Module) -> Predicate:
        """Return a function that tells from a weight's name whether it trains.

        Raises:
            UserError: If the backbone has no such weights.
        """

    def check(self, backbone: nn.Module) -> None:
        self.selects(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        selected, tables = self.selects(backbone), embedding_names(backbone)
        for name, weight in backbone.named_parameters():
            if not weight.requires_grad:  # computed rather than learned, such as sinusoidal positions
                continue
            forced = self.embeddings if name in tables else None
            weight.requires_grad_(selected(name) if forced is None else forced)
        return backbone


def embedding_names(backbone: nn.Module) -> set[str]:
    """Names of the weights of all embedding tables, such as word and position embeddings."""
    tables = [name for name, module in backbone.named_modules() if isinstance(module, nn.Embedding)]
    return {name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in tables}


@dataclass(frozen=True)
class Full(Selective):
    """Train every weight.

    Args:
        embeddings: Whether the embeddings train. False freezes them, which are half the weights of a small model.
    """

    embeddings: bool | None = None

    tunes_pretrained_head = True

    @property
    def trains_everything(self) -> bool:
        return self.embeddings is not False

    def selects(self, backbone: nn.Module) -> Predicate:
        return lambda name: True


@dataclass(frozen=True)
class Frozen(Selective):
    """Train only the head, on fixed features (linear probing). The backbone runs without dropout.

    Args:
        embeddings: Whether the embeddings train. Null leaves the choice to the method.
    """

    embeddings: bool | None = None

    def selects(self, backbone: nn.Module) -> Predicate:
        return lambda name: False

    def apply(self, backbone: nn.Module) -> nn.Module:
        backbone = super().apply(backbone)
        return backbone if self.embeddings else backbone.eval()


@dataclass(frozen=True)
class TopLayers(Selective):
    """Train the top layers, the modules above them, and the head.

    Args:
        k: Number of layers to train, counted from the top.
        embeddings: Whether the embeddings train. Null leaves the choice to the method.
    """

    k: int = 2
    embeddings: bool | None = None

    tunes_pretrained_head = True

    def selects(self, backbone: nn.Module) -> Predicate:
        layers = len(layer_stack(backbone)[1])
        if not 0 <= self.k <= layers:
            raise UserError(f"model.tuning.k is {self.k}, but {type(backbone).__name__} has {layers} layers")
        depth = depths(backbone)
        return lambda name: depth[name] > layers - self.k


@dataclass(frozen=True)
class Select(Selective):
    """Train the weights whose names match a pattern.

    Args:
        pattern: Regular expressions to search for in the names of `named_parameters()` of the backbone, such as
            `layer\\.5\\.` or `[query, value]`. A weight trains if any of them matches.
        embeddings: Whether the embeddings train. Null leaves the choice to the pattern.
    """

    pattern: str | list[str]
    embeddings: bool | None = None

    def __post_init__(self) -> None:
        if not self.patterns or not all(self.patterns):
            raise UserError("model.tuning.pattern is empty; set one or several regular expressions")
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"model.tuning.pattern {pattern!r} is not a valid regular expression: {error}") from error

    @property
    def patterns(self) -> list[str]:
        """The patterns as a list."""
        return [self.pattern] if isinstance(self.pattern, str) else list(self.pattern)

    def selects(self, backbone: nn.Module) -> Predicate:
        names = [name for name, _ in backbone.named_parameters()]
        for pattern in self.patterns:
            if not any(re.search(pattern, name) for name in names):
                parts = sorted({part for name in names for part in name.split(".") if not part.isdecimal()})
                raise UserError(
                    f"model.tuning.pattern {pattern!r} matches no weight of {type(backbone).__name__}. {near(pattern, parts)}"
                )
        return lambda name: any(re.search(pattern, name) for pattern in self.patterns)


@dataclass(frozen=True)
class BitFit(Selective):
    """Train only the biases (Ben Zaken et al., 2022).

    Args:
        embeddings: Whether the embeddings train. Null leaves the choice to the method.
    """

    embeddings: bool | None = None

    def selects(self, backbone: nn.Module) -> Predicate:
        if not any(name.endswith("bias") for name, _ in backbone.named_parameters()):
            raise UserError(f"BitFit trains biases, but {type(backbone).__name__} has none; use LoRA or TopLayers")
        return lambda name: name.endswith("bias")


@dataclass(frozen=True)
class LayerNormTuning(Selective):
    """Train only the scales and shifts of normalization layers (Zhao et al., 2024).

    Args:
        embeddings: Whether the embeddings train. Null leaves the choice to the method.
    """

    embeddings: bool | None = None

    def selects(self, backbone: nn.Module) -> Predicate:
        norms = [name for name, module in backbone.named_modules() if "norm" in type(module).__name__.lower()]
        return lambda name: name.rpartition(".")[0] in norms
