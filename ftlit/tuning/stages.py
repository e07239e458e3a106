"""Methods with stages: weights that are unfrozen in the course of a run.

The optimizer holds all of these weights from the start. A weight that is still frozen has no gradient, so optimizers skip it
and keep no state for it. The stage depends on the step and the epoch alone, so that a resumed run continues exactly.
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.models.layer_depths import depths, layer_stack
from ftlit.tuning.base import Tuning, is_trainable, set_scheduled
from ftlit.tuning.lowrank import AdaLoRA
from ftlit.tuning.selective import Full


class Staged(Tuning):
    """Base class of methods that unfreeze the backbone in stages. The head trains from the first step."""

    @abstractmethod
    def unfreeze_stages(self, backbone: nn.Module) -> dict[str, int]:
        """Return the stage in which each weight of the backbone is unfrozen."""

    def check_length(self, steps: int, epochs: int | None) -> None:
        starts = self.stage_starts
        if isinstance(starts, list) and starts[-1] >= steps:
            raise UserError(f"model.tuning.steps {starts} exceed the length of the run, which has {steps} optimizer steps")
        if isinstance(starts, int) and epochs is not None and starts >= epochs:
            raise UserError(
                f"model.tuning.epochs is {starts}, but trainer.max_epochs is not higher, so that no layer would ever train; "
                "raise trainer.max_epochs, or set model.tuning.steps"
            )

    @property
    @abstractmethod
    def stage_starts(self) -> list[int] | int:
        """The optimizer steps at which stages start, or the epoch at which the first one starts."""

    def set_stage(self, backbone: nn.Module, stage: int) -> None:
        stages = self.unfreeze_stages(backbone)
        for name, weight in backbone.named_parameters():
            if is_trainable(weight):
                set_scheduled(weight, stages[name] > stage)


@dataclass(frozen=True)
class GradualUnfreezing(Staged):
    """Train the head first, then unfreeze one layer at a time from the top (Howard and Ruder, 2018).

    Args:
        epochs: Number of epochs between two layers.
        steps: Optimizer steps at which a layer is unfrozen, such as `[100, 200, 400]`. Overrides `epochs`. Layers that are
            not reached stay frozen.
    """

    epochs: int = 1
    steps: list[int] | None = None

    tunes_pretrained_head = True

    def __post_init__(self) -> None:
        if self.steps is not None and (not self.steps or self.steps[0] < 0 or self.steps != sorted(set(self.steps))):
            raise UserError(f"model.tuning.steps must be increasing optimizer steps, got {self.steps}")

    def check(self, backbone: nn.Module) -> None:
        count = len(layer_stack(backbone)[1])
        if self.steps is not None and len(self.steps) > count + 1:
            raise UserError(
                f"model.tuning.steps has {len(self.steps)} steps, but {type(backbone).__name__} has only {count} layers and "
                "its embeddings to unfreeze"
            )

    @property
    def stage_starts(self) -> list[int] | int:
        return self.epochs if self.steps is None else self.steps

    def stage(self, step: int, epoch: int) -> int:
        return epoch // self.epochs if self.steps is None else sum(step >= start for start in self.steps)

    def unfreeze_stages(self, backbone: nn.Module) -> dict[str, int]:
        top = len(layer_stack(backbone)[1])
        return {name: max(top + 1 - depth, 0) for name, depth in depths(backbone).items()}

    def apply(self, backbone: nn.Module) -> nn.Module:
        last = len(self.steps) if self.steps is not None else None
        stages = self.unfreeze_stages(backbone)
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(weight.requires_grad and (last is None or stages[name] <= last))
        self.set_stage(backbone, 0)
        return backbone


@dataclass(frozen=True)
class HeadFirst(Staged):
    """Train the head alone first, then the backbone too (LP-FT; Kumar et al., 2022).

    Args:
        epochs: Number of epochs in which only the head trains.
        steps: Number of optimizer steps in which only the head trains. Overrides `epochs`.
        then: Tuning method of the backbone afterwards.
    """

    epochs: int = 1
    steps: int | None = None
    then: Tuning = field(default_factory=Full)

    def __post_init__(self) -> None:
        parts = getattr(self.then, "methods", [self.then])
        unsupported = [part for part in parts if isinstance(part, (Staged, AdaLoRA)) or part.positions]
        if unsupported:  # AdaLoRA allocates ranks by gradients from the first step
            raise UserError(
                f"model.tuning.then cannot be {type(unsupported[0]).__name__}; use for example Full, TopLayers or LoRA"
            )

    @property
    def tunes_pretrained_head(self) -> bool:  # type: ignore[override]
        return self.then.tunes_pretrained_head

    @property
    def modifies_base_weights(self) -> bool:
        return self.then.modifies_base_weights

    def as_exported(self) -> "HeadFirst":
        return replace(self, then=self.then.as_exported())

    def check(self, backbone: nn.Module) -> None:
        self.then.check(backbone)

    @property
    def stage_starts(self) -> list[int] | int:
        return self.epochs if self.steps is None else [self.steps]

    def stage(self, step: int, epoch: int) -> int:
        return int(epoch >= self.epochs if self.steps is None else step >= self.steps)

    def loading(self, heads: list[str]) -> dict[str, Any]:
        return self.then.loading(heads)

    def unfreeze_stages(self, backbone: nn.Module) -> dict[str, int]:
        return {name: 1 for name, _ in backbone.named_parameters()}

    def apply(self, backbone: nn.Module) -> nn.Module:
        backbone = self.then.apply(backbone)
        self.set_stage(backbone, 0)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        return self.then.merge(backbone)
