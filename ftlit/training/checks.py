"""Cheap checks that stop a run because of mistakes that would otherwise go unnoticed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from ftlit.errors import UserError, near
from ftlit.training.bfloat16 import LostUpdates
from ftlit.tuning.base import ALWAYS_TRAINABLE, is_scheduled, is_trainable
from ftlit.tuning.bottleneck import Bottleneck

STEPS_TO_LEARN = 20  # after which updates that start at zero must no longer be zero


@dataclass
class ZeroStart:
    """Weights of a parameter group that start at zero, and the number of their optimizer steps."""

    group: dict[str, Any]
    weights: dict[str, nn.Parameter]
    steps: int = 0


class TrainingChecks(Callback):
    """Stops a run if frozen weights change, trained ones do not, or dropout is in the wrong mode.

    Modes are checked at the first batch, gradients at the first optimizer step, updates that start at zero or are lost to
    rounding after 20 steps, and frozen weights after each validation and at the end.
    """

    def __init__(self) -> None:
        self._modes: dict[str, bool] = {}
        self._frozen: dict[str, tuple[int, bool]] = {}
        self._zero_starts: list[ZeroStart] = []
        self._rounding: LostUpdates | None = None
        self._steps = 0  # with a learning rate above 0
        self._first_batch = self._first_step = True

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            trunk = pl_module.stages.trunk
            self._modes = {name: part.training or trunk.rests(part) for name, part in _parts(pl_module)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._frozen = frozen_values(pl_module)
        self._first_batch = self._first_step = True

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._first_batch:
            self._first_batch = False
            check_modes(pl_module, self._modes)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self._first_step:
            self._first_step = False
            check_gradients(pl_module)
            self._zero_starts = zero_starts(pl_module, optimizer)
            self._rounding, self._steps = LostUpdates(pl_module), 0
        self._steps += any(group["lr"] > 0 for group in optimizer.param_groups)
        for start in self._zero_starts:
            if start.group["lr"] > 0 and not any(map(is_scheduled, start.weights.values())):
                start.steps += 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._check_learned()
        self._check_rounding(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._check_frozen(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_learned()
        self._check_rounding(trainer)
        self._check_frozen(pl_module)

    def _check_learned(self) -> None:
        due = [start for start in self._zero_starts if start.steps >= STEPS_TO_LEARN]
        if due:
            self._zero_starts = [start for start in self._zero_starts if start.steps < STEPS_TO_LEARN]
            check_learned({name: weight for start in due for name, weight in start.weights.items()})

    def _check_rounding(self, trainer: Trainer) -> None:
        if self._rounding and self._steps >= STEPS_TO_LEARN:
            self._rounding.check(self._steps, str(trainer.precision))
            self._rounding = None

    def _check_frozen(self, module: LightningModule) -> None:
        weights = dict(module.named_parameters())
        # Weights that were unfrozen since the last check may change.
        kept = {name: value for name, (value, waited) in self._frozen.items() if not waited or is_scheduled(weights[name])}
        now = values({name: weights[name] for name in kept})
        if changed := [name for name in kept if now[name] != kept[name]]:
            raise UserError(
                f"frozen weights have changed in training: {shown(changed)}; model.tuning {getattr(module, 'tuning', '')} "
                "does not train them, and checkpoints do not contain them: a callback or class of yours writes to them, or "
                "passes them to an optimizer; remove this, or choose a model.tuning that trains them"
            )
        self._frozen = {name: (value, is_scheduled(weights[name])) for name, value in kept.items()}


class MonitoredMetrics(Callback):
    """Stops a run before it trains if a callback of the user monitors a metric that validations do not log.

    Other names may be logged in training, so Lightning looks for them when it needs them.

    Args:
        callbacks: The callbacks of the user.
    """

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = [name for name in trainer.callback_metrics if name.startswith("val/")]
        for callback in self._callbacks:
            name = getattr(callback, "monitor", None)
            if name and name not in logged and (name.startswith("val") or f"val/{name}" in logged):
                raise UserError(
                    f"trainer.callbacks: {type(callback).__name__} monitors {name!r}, which no validation logs. "
                    f"{near(name, logged)}"
                )


def _parts(module: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The submodules of a task, except its metrics."""
    return ((name, part) for name, part in module.named_modules() if name and name.split(".")[0] != "metrics")


def shown(names: list[str]) -> str:
    """Up to three names, and the number of other names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def frozen_values(module: nn.Module) -> dict[str, tuple[int, bool]]:
    """A checksum of each weight that does not train now, and whether it will be unfrozen later."""
    weights = {name: weight for name, weight in module.named_parameters() if is_scheduled(weight) or not weight.requires_grad}
    return {name: (value, is_scheduled(weights[name])) for name, value in values(weights).items()}


def values(weights: dict[str, nn.Parameter]) -> dict[str, int]:
    """A checksum of each weight: the sum of its bytes, eight at a time."""
    sums = {name: _bits(weight) for name, weight in weights.items()}  # queued together, since int() waits for the device
    return {name: int(total) for name, total in sums.items()}


@torch.no_grad()
def _bits(weight: Any) -> Tensor:
    own = weight.to_local() if hasattr(weight, "to_local") else weight.detach()
    flat = own.reshape(-1).view(torch.uint8)
    whole = len(flat) // 8 * 8
    return flat[:whole].view(torch.int64).sum() + flat[whole:].sum()


def check_modes(module: Any, begun: dict[str, bool]) -> None:
    """Check that no submodule trains without dropout, or has dropout although its features should be fixed.

    Args:
        module: The task, in training.
        begun: Whether each submodule was in training mode when the run started, or would be if the trunk did not rest.

    Raises:
        UserError: A submodule is in the wrong mode.
    """
    fixed, trunk = _fixed(module), module.stages.trunk
    for name, part in _parts(module):
        rests = trunk.rests(part)
        if part.training and (rests or not begun.get(name, True)):
            raise UserError(
                f"dropout is on in {name}, which model.tuning {getattr(module, 'tuning', '')} keeps in evaluation mode so that "
                "its features are fixed; a callback or class of yours calls train() on it: leave that out"
            )
        if not (part.training or rests) and (
            begun.get(name, True) or any(w not in fixed and is_trainable(w) for w in _own(part))
        ):
            raise UserError(
                f"dropout is off in {name}, which trains: it is in evaluation mode, because a callback or class of yours "
                "called eval() or loaded it without train(); call train() on it, or set its dropout to 0 if it should have none"
            )


def _own(part: nn.Module) -> Iterable[nn.Parameter]:
    return part.parameters(recurse=False)


def _fixed(module: Any) -> set[nn.Parameter]:
    """Weights that train without dropout: the newly initialized weights in a backbone that is otherwise frozen."""
    weights = list(module.backbone.parameters())
    tuned = any(is_trainable(weight) and not getattr(weight, ALWAYS_TRAINABLE, False) for weight in weights)
    return set() if tuned else set(weights)


def check_gradients(module: nn.Module) -> None:
    """Check that the loss depends on every trained weight.

    Raises:
        UserError: A weight that trains has no gradient.
    """
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad and not is_scheduled(weight)}
    if lost := [name for name, weight in trained.items() if weight.grad is None]:
        raise UserError(
            f"{len(lost)} of {len(trained)} trained weights have no gradient at the first optimizer step: {shown(lost)}; the "
            "loss does not depend on them, usually because a part such as a pooler is built and never called, or its output is "
            "detached: use it in forward, or freeze it or set it to None where the model is built"
        )


def zero_starts(module: nn.Module, optimizer: Any) -> list[ZeroStart]:
    """The weights that start at zero, by parameter group: B of LoRA, and the up-projections of bottleneck adapters."""
    up = {id(part.up.weight) for part in module.modules() if isinstance(part, Bottleneck)}
    names = {id(w): name for name, w in module.named_parameters() if is_trainable(w) and ("lora_B" in name or id(w) in up)}
    found = [ZeroStart(group, {names[id(w)]: w for w in group["params"] if id(w) in names}) for group in optimizer.param_groups]
    return [start for start in found if start.weights]


def check_learned(weights: dict[str, nn.Parameter]) -> None:
    """Check that weights are no longer zero.

    Raises:
        UserError: A weight is still all zero.
    """
    moved = [weight.detach().any() for weight in weights.values()]
    if still := [name for name, some in zip(weights, moved, strict=True) if not some]:
        raise UserError(
            f"{len(still)} of {len(weights)} updates are still all zero after {STEPS_TO_LEARN} optimizer steps with a "
            f"learning rate above 0: {shown(still)}; their gradients are zero, or too small for trainer.precision (take "
            "bf16-mixed or 32-true), or the optimizer leaves them out"
        )
