"""Follow the training stages of tuning methods such as gradual unfreezing."""

from typing import TYPE_CHECKING

from torch import nn

from ftlit.tuning.base import is_scheduled
from ftlit.tuning.trunk import Trunk

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


class Stages:
    """Follows the stages of a task's tuning method, and the trunk that each leaves. Most methods have a single stage."""

    def __init__(self) -> None:
        self.current, self.trunk = 0, Trunk()
        self._scheduled: list[nn.Parameter] = []

    def enter(self, task: "TaskModule", stage: int) -> None:
        """Unfreeze the weights of a stage."""
        self.current = stage
        task.tuning.set_stage(task.backbone, stage)
        self.trunk.settle(task.backbone)
        self._scheduled = [weight for weight in task.parameters() if is_scheduled(weight)]

    def follow(self, task: "TaskModule") -> None:
        """Enter the next stage if it starts with this step."""
        stage = task.tuning.stage(task.global_step, task.current_epoch)
        if stage != self.current:
            self.enter(task, stage)

    def drop_gradients(self) -> None:
        """Discard the gradients of weights of later stages, which are computed on several devices."""
        for weight in self._scheduled:
            weight.grad = None
