"""The interface of tuning methods."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ftlit.errors import UserError


class Tuning(ABC):
    """Chooses which weights of the backbone train, in place or by wrapping it.

    The head and weights that the pretrained files lack are no business of a method: they always train. A method that only
    chooses weights needs `apply` alone; the rest is for those that change the architecture or act during training.
    """

    tunes_pretrained_head: ClassVar[bool] = False  # whether a language model's own head trains with the backbone

    @property
    def trains_everything(self) -> bool:
        """Whether every weight of the backbone trains, as those must that begin at random."""
        return False

    @property
    def positions(self) -> int:
        """Positions of the model that the method takes for itself, so that texts have fewer."""
        return 0

    def check(self, backbone: nn.Module) -> None:
        """Refuse a backbone that the method cannot tune, before its weights are loaded.

        Args:
            backbone: The backbone's layers without their values (on the device ``meta``).

        Raises:
            UserError: With what does not fit, and what to change.
        """

    @abstractmethod
    def apply(self, backbone: nn.Module) -> nn.Module:
        """The backbone to train in place of `backbone`; weights that must not move have ``requires_grad=False``."""

    def merge(self, backbone: nn.Module) -> nn.Module:
        """The tuned backbone as a plain Hugging Face model again.

        Raises:
            UserError: The method's weights cannot become part of the backbone's.
        """
        return backbone

    def loading(self, heads: list[str]) -> dict[str, Any]:
        """Arguments for loading the pretrained weights, such as a quantization.

        Args:
            heads: Names of the model's parts beside the backbone.
        """
        return {}

    @property
    def rewrites_frozen(self) -> bool:
        """Whether weights that are frozen begin with other values than the pretrained ones."""
        return False

    # During training

    def begin(self, backbone: nn.Module, steps: int) -> None:
        """Prepare a training of so many optimizer steps.

        Raises:
            UserError: The method must know the number of steps, and there is no end.
        """

    def check_length(self, steps: int, epochs: int | None) -> None:
        """Refuse a run that ends before the method is done.

        Args:
            steps: Optimizer steps of the run.
            epochs: Its epochs at most; None where only steps are counted.

        Raises:
            UserError: With the setting that is too large.
        """

    def stage(self, step: int, epoch: int) -> int:
        """The stage of training at an optimizer step of an epoch, from 0: of these two alone, so that a run can be resumed."""
        return 0

    def enter(self, backbone: nn.Module, stage: int) -> None:
        """Let those weights train that train in a stage."""

    def penalty(self, backbone: nn.Module) -> Tensor | None:
        """What the method adds to the loss."""
        return None

    def after_step(self, backbone: nn.Module, step: int) -> None:
        """Act on the weights and gradients of an optimizer step that is done."""

    def state(self, backbone: nn.Module) -> dict[str, Any]:
        """What a resumed run must know beside the weights."""
        return {}

    def load_state(self, backbone: nn.Module, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""


# Attributes of weights: those that are frozen now and will train, and those that train from the first step in any case.
WAITS, ALWAYS = "trains_later", "trains_always"


def trains(weight: nn.Parameter) -> bool:
    """Whether a weight trains, now or in a later stage of the run."""
    return weight.requires_grad or waiting(weight)


def waiting(weight: nn.Parameter) -> bool:
    """Whether a weight is frozen now and will train later."""
    return getattr(weight, WAITS, False)


def set_waiting(weight: nn.Parameter, waits: bool) -> None:
    """Freeze a weight that will train later, or let it train from now on.

    On several devices it goes on having a gradient, which is thrown away: they agree at the start of a run, and only then,
    on the weights whose gradients they exchange.
    """
    waits = waits and not getattr(weight, ALWAYS, False)
    setattr(weight, WAITS, waits)
    weight.requires_grad_(not waits or _several_devices())


def always_train(weight: nn.Parameter) -> None:
    """Let a weight train from the first step, whatever the method: frozen, a random one would be random at every load."""
    setattr(weight, ALWAYS, True)
    set_waiting(weight, False)


def _several_devices() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def at_least(name: str, value: float, least: int) -> None:
    """Refuse a setting of a method below its least value."""
    if value < least:
        raise UserError(f"model.tuning.{name} must be at least {least}, got {value}")


def not_mergeable(tuning: Tuning) -> UserError:
    """The refusal of a method whose weights cannot become part of the backbone's."""
    return UserError(
        f"model.tuning {type(tuning).__name__} cannot be merged into the backbone: what it learned is no change of weights"
    )
