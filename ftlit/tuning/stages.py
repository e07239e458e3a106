"""Schedules of what trains: weights that join in the course of a run.

The optimizer knows all of them from the start. A weight that waits has no gradient, so that optimizers leave it alone and keep
no state of it; what trains depends on the step and the epoch only, so that a resumed run goes on exactly.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.models.backbones import depths, layer_stack
from ftlit.tuning.base import Tuning, at_least, set_waiting, trains
from ftlit.tuning.lowrank import AdaLoRA
from ftlit.tuning.selective import Full


class Staged(Tuning):
    """A method whose weights join one group after the other; the head trains from the first step."""

    @abstractmethod
    def joins(self, backbone: nn.Module) -> dict[str, int]:
        """The stage in which each weight of the backbone begins to train."""

    def check_length(self, steps: int, epochs: int | None) -> None:
        begins = self.begins
        if isinstance(begins, list) and begins[-1] >= steps:
            raise UserError(f"model.tuning.steps {begins} go on after the end of the run, which has {steps} optimizer steps")
        if isinstance(begins, int) and epochs is not None and begins >= epochs:
            raise UserError(
                f"model.tuning.epochs is {begins}, and so is trainer.max_epochs or less: no layer would ever train; "
                "set trainer.max_epochs higher, or model.tuning.steps"
            )

    @property
    @abstractmethod
    def begins(self) -> list[int] | int:
        """The steps at which stages begin, or the epoch of the first."""

    def enter(self, backbone: nn.Module, stage: int) -> None:
        joins = self.joins(backbone)
        for name, weight in backbone.named_parameters():
            if trains(weight):
                set_waiting(weight, joins[name] > stage)


@dataclass(frozen=True)
class GradualUnfreezing(Staged):
    """Train the head first, then one layer more at a time from the top (Howard and Ruder, 2018).

    Args:
        epochs: Epochs from one layer to the next.
        steps: Optimizer steps at which one more layer joins, instead of epochs, such as `[100, 200, 400]`; layers
            that are left when they are used up stay frozen.
    """

    epochs: int = 1
    steps: list[int] | None = None

    tunes_pretrained_head = True

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        if self.steps is not None and (not self.steps or self.steps[0] < 0 or self.steps != sorted(set(self.steps))):
            raise UserError(f"model.tuning.steps must be optimizer steps that rise, got {self.steps}")

    def check(self, backbone: nn.Module) -> None:
        count = len(layer_stack(backbone)[1])
        if self.steps is not None and len(self.steps) > count + 1:
            raise UserError(
                f"model.tuning.steps has {len(self.steps)} steps, but {type(backbone).__name__} has {count} layers and its "
                "embeddings to unfreeze"
            )

    @property
    def begins(self) -> list[int] | int:
        return self.epochs if self.steps is None else self.steps

    def stage(self, step: int, epoch: int) -> int:
        return epoch // self.epochs if self.steps is None else sum(step >= begin for begin in self.steps)

    def joins(self, backbone: nn.Module) -> dict[str, int]:
        top = len(layer_stack(backbone)[1])
        return {name: max(top + 1 - depth, 0) for name, depth in depths(backbone).items()}

    def apply(self, backbone: nn.Module) -> nn.Module:
        last = len(self.steps) if self.steps is not None else None
        joins = self.joins(backbone)
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(weight.requires_grad and (last is None or joins[name] <= last))
        self.enter(backbone, 0)
        return backbone


@dataclass(frozen=True)
class HeadFirst(Staged):
    """Train the head alone at first, then the backbone with it (LP-FT; Kumar et al., 2022).

    Args:
        epochs: Epochs of the head alone.
        steps: Optimizer steps of the head alone, instead of epochs.
        then: How the backbone is tuned from then on.
    """

    epochs: int = 1
    steps: int | None = None
    then: Tuning = field(default_factory=Full)

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise UserError(f"model.tuning.epochs and steps must be at least 1, got {self.epochs} and {self.steps}")
        parts = getattr(self.then, "methods", [self.then])
        odd = [part for part in parts if isinstance(part, (Staged, AdaLoRA)) or part.positions]
        if odd:  # AdaLoRA deals out ranks by gradients from the first step
            raise UserError(f"model.tuning.then cannot be {type(odd[0]).__name__}; use Full, TopLayers, LoRA or the like")

    @property
    def tunes_pretrained_head(self) -> bool:  # type: ignore[override]
        return self.then.tunes_pretrained_head

    @property
    def rewrites_frozen(self) -> bool:
        return self.then.rewrites_frozen

    def check(self, backbone: nn.Module) -> None:
        self.then.check(backbone)

    @property
    def begins(self) -> list[int] | int:
        return self.epochs if self.steps is None else [self.steps]

    def stage(self, step: int, epoch: int) -> int:
        return int(epoch >= self.epochs if self.steps is None else step >= self.steps)

    def loading(self, heads: list[str]) -> dict[str, Any]:
        return self.then.loading(heads)

    def joins(self, backbone: nn.Module) -> dict[str, int]:
        return {name: 1 for name, _ in backbone.named_parameters()}

    def apply(self, backbone: nn.Module) -> nn.Module:
        backbone = self.then.apply(backbone)
        self.enter(backbone, 0)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        return self.then.merge(backbone)
