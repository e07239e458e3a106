"""Training in stages: which weights train now, and which will later."""

from typing import TYPE_CHECKING

from torch import nn

from ftlit.tuning.base import is_scheduled

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


class Stages:
    """Follows the stages of a task's tuning method, such as gradual unfreezing; most methods have one."""

    def __init__(self) -> None:
        self.current = 0
        self._scheduled: list[nn.Parameter] = []

    def enter(self, task: "TaskModule", stage: int) -> None:
        """Let the weights of a stage train."""
        self.current = stage
        task.tuning.set_stage(task.backbone, stage)
        self._scheduled = [weight for weight in task.parameters() if is_scheduled(weight)]

    def follow(self, task: "TaskModule") -> None:
        """Enter the next stage if it begins with this step."""
        stage = task.tuning.stage(task.global_step, task.current_epoch)
        if stage != self.current:
            self.enter(task, stage)

    def drop_gradients(self) -> None:
        """Drop the gradients of weights of later stages, which they have on several devices."""
        for weight in self._scheduled:
            weight.grad = None
