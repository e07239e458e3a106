"""The monitored metric of a task, and which values of its metrics are better."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError, near
from ftlit.metrics.direction import higher_is_better, lower_is_better

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


def of_validation(metric: str) -> str:
    """The name under which a metric of validation is logged, which users may shorten to that in results.json."""
    return metric if "/" in metric else f"val/{metric}"


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


def check_callbacks(callbacks: Iterable[Any], task: "TaskModule") -> None:
    """Check that callbacks such as EarlyStopping do not wait for worse values of a metric.

    Raises:
        UserError: The mode of a callback contradicts the metric that it monitors.
    """
    metrics = task.evaluators["val"].metrics
    for callback in callbacks:
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        higher = higher_is_better(monitor, metrics, task.higher_is_better) if monitor else None
        if higher is not None and mode in ("min", "max") and (mode == "max") != higher:
            raise UserError(
                f"trainer.callbacks: {type(callback).__name__} monitors {monitor!r} with mode {mode!r}, but its "
                f"{'higher' if higher else 'lower'} values are better; set its mode to {'max' if higher else 'min'}"
            )
