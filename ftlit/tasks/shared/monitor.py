"""The monitored metric of a task, and which values of its metrics are better."""

from typing import TYPE_CHECKING

from ftlit.errors import UserError, near
from ftlit.metrics.direction import higher_is_better, lower_is_better

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


def monitor_mode(task: "TaskModule") -> str:
    """Return whether the monitored metric is better when lower (`min`) or higher (`max`).

    Raises:
        UserError: The task has no such metric, or nothing says which values are better.
    """
    known = [f"val/{name}" for name in task.metric_names]
    if task.monitor not in known:
        raise UserError(f"model.monitor {task.monitor!r} is not a metric of this task. {near(task.monitor, known)}")
    try:
        return "min" if lower_is_better(task.monitor, task.evaluators["val"].metrics, task.higher_is_better) else "max"
    except UserError as error:
        raise UserError(f"model.monitor {error}") from error


def metric_directions(task: "TaskModule") -> dict[str, bool]:
    """Return whether higher values are better, by the name of each metric of a task for which this is known."""
    metrics = task.evaluators["val"].metrics
    known = {name: higher_is_better(name, metrics, task.higher_is_better) for name in task.metric_names}
    return {name: higher for name, higher in known.items() if higher is not None}
