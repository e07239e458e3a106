"""The interface of tuning methods."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.util.arguments.checked import CheckedArguments


class Tuning(metaclass=CheckedArguments):
    """Base class of tuning methods, which choose the weights of the backbone to train, in place or by wrapping it.

    The head and newly initialized weights always train, whatever the method. A method that only selects weights implements
    `apply`; the other hooks are for methods that change the architecture or act during training.
    """

    config_key: ClassVar[str] = "model.tuning"
    tunes_pretrained_head: ClassVar[bool] = False  # whether the pretrained head of a language model trains too

    @property
    def trains_everything(self) -> bool:
        """Whether every weight of the backbone trains, as a randomly initialized backbone requires."""
        return False

    @property
    def positions(self) -> int:
        """Number of the model's positions that the method uses itself; texts have that many fewer."""
        return 0

    def check(self, backbone: nn.Module) -> None:
        """Check that the method can tune a backbone, before the backbone's weights are loaded.

        Args:
            backbone: The backbone on the device ``meta``, without values.

        Raises:
            UserError: If it cannot, with the setting to change.
        """

    @abstractmethod
    def apply(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone to train instead of `backbone`, with ``requires_grad=False`` on all weights to freeze."""

    def merge(self, backbone: nn.Module) -> nn.Module:
        """Return the tuned backbone as a plain Hugging Face model.

        Raises:
            UserError: If the method's weights cannot be merged into the backbone.
        """
        return backbone

    def loading(self, heads: list[str]) -> dict[str, Any]:
        """Return extra arguments of ``from_pretrained``, such as a quantization config.

        Args:
            heads: Names of the model's modules outside the backbone.
        """
        return {}

    @property
    def modifies_base_weights(self) -> bool:
        """Whether applying the method changes the values of frozen pretrained weights."""
        return False

    def as_exported(self) -> "Tuning":
        """Return the method of an exported adapter, which is added to the pretrained weights as they are."""
        return self

    # During training

    def begin(self, backbone: nn.Module, steps: int) -> None:
        """Prepare for a training run of `steps` optimizer steps.

        Raises:
            UserError: If the method's schedule does not fit the run.
        """

    def check_length(self, steps: int, epochs: int | None) -> None:
        """Check that the run is long enough for the method's schedule.

        Args:
            steps: Optimizer steps of the run.
            epochs: Maximum number of epochs, or None if only steps are limited.

        Raises:
            UserError: If the run ends too early, with the setting to change.
        """

    def stage(self, step: int, epoch: int) -> int:
        """Return the training stage, counted from 0. It depends on step and epoch alone, so that a run can be resumed."""
        return 0

    def set_stage(self, backbone: nn.Module, stage: int) -> None:
        """Unfreeze the weights that train in a stage, and freeze the others."""

    def penalty(self, backbone: nn.Module) -> Tensor | None:
        """Return a term to add to the loss, or None."""
        return None

    def after_step(self, backbone: nn.Module, step: int) -> None:
        """Called after each optimizer step, while its gradients still exist."""

    def state(self, backbone: nn.Module) -> dict[str, Any]:
        """Return the state that a checkpoint needs besides the weights."""
        return {}

    def load_state(self, backbone: nn.Module, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


# Attributes set on parameters: frozen now and unfrozen later, trainable from the first step with every method, and for newly
# initialized ones, which rows have the values of an earlier run nevertheless.
SCHEDULED, ALWAYS_TRAINABLE, KNOWN_ROWS = "ftlit_scheduled", "ftlit_always_trainable", "ftlit_known_rows"


def is_trainable(weight: nn.Parameter) -> bool:
    """Whether a weight is trained, now or in a later stage of the run."""
    return weight.requires_grad or is_scheduled(weight)


def is_scheduled(weight: nn.Parameter) -> bool:
    """Whether a weight is frozen now and will be unfrozen in a later stage."""
    return getattr(weight, SCHEDULED, False)


def set_scheduled(weight: nn.Parameter, scheduled: bool) -> None:
    """Freeze a weight until a later stage, or unfreeze it now.

    On several devices a frozen weight keeps computing a gradient, which is discarded: the devices agree once, at the start of
    a run, on the weights whose gradients they exchange.
    """
    scheduled = scheduled and not getattr(weight, ALWAYS_TRAINABLE, False)
    setattr(weight, SCHEDULED, scheduled)
    weight.requires_grad_(not scheduled or _several_devices())


def always_train(weight: nn.Parameter) -> None:
    """Train a weight from the first step with every method: a frozen random weight would differ each time it is loaded."""
    setattr(weight, ALWAYS_TRAINABLE, True)
    set_scheduled(weight, False)


def set_known_rows(weight: nn.Parameter, rows: Tensor) -> None:
    """Note which rows of a newly initialized weight have the values of an earlier run, ``(rows,)``."""
    setattr(weight, KNOWN_ROWS, rows)


def known_rows(weight: nn.Parameter) -> Tensor:
    """Whether the values of a weight come from an earlier training, as a single truth value or one for each row.

    The shape is such that it can be multiplied with the weight. A weight that a tuning method adds counts as known.
    """
    rows: Tensor | None = getattr(weight, KNOWN_ROWS, None)
    if rows is None:
        return torch.tensor(not getattr(weight, ALWAYS_TRAINABLE, False), device=weight.device)
    return rows.to(weight.device).view(-1, *[1] * (weight.ndim - 1))


def _several_devices() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def not_mergeable(tuning: Tuning) -> UserError:
    """Return the error for a method whose weights cannot be merged into the backbone."""
    return UserError(
        f"model.tuning {type(tuning).__name__} cannot be merged into the backbone: its learned parameters do not update the "
        "backbone's weights"
    )
