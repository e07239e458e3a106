"""The logged values of a run as curves."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from ftlit.serve.studio.runs import StudioRun
from ftlit.util.render.drawing import COLORS
from ftlit.util.render.formats import count, value_text

WIDTH, HEIGHT = 340, 170  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # its margins
MOST = 400  # points of a line
STAGES = ("train", "val")  # first parts of names; test has one value, which is in the table


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        stage: `train` or `val`.
        color: Its colour.
        points: Its points as SVG has them.
        last: Its last value, as a text.
        at: Place of the last point.
    """

    stage: str
    color: str
    points: str
    last: str
    at: tuple[str, str]


class Chart(NamedTuple):
    """The curves of a metric.

    Attributes:
        name: Name of the metric.
        lines: Its lines.
        ticks: Texts on the vertical axis with their places.
        steps: The first and the last step.
    """

    name: str
    lines: list[Line]
    ticks: list[tuple[str, str]]
    steps: tuple[str, str]


def charts(run: StudioRun) -> list[Chart]:
    """The charts of a run, one for each metric; that of the loss is first.

    Raises:
        UserError: metrics.csv is damaged.
    """
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in run.logged():
        for key, value in row.items():
            stage, _, name = key.partition("/")
            if stage in STAGES and isfinite(value) and isfinite(row["step"]):
                series.setdefault(name, {}).setdefault(stage, []).append((row["step"], value))
    ordered = sorted(series, key=lambda name: (name != "loss", "train" not in series[name], name))
    return [_chart(name, series[name]) for name in ordered if max(map(len, series[name].values())) > 1]


def _chart(name: str, stages: dict[str, list[tuple[float, float]]]) -> Chart:
    thin = {stage: thinned(points) for stage, points in stages.items()}
    steps, values = (_range([point[axis] for points in thin.values() for point in points]) for axis in (0, 1))
    lines = [_line(stage, thin[stage], steps, values) for stage in STAGES if stage in thin]
    ends = [(value_text(value), _place(value, values, HEIGHT - BOTTOM, TOP)) for value in values]
    return Chart(name, lines, ends, (count(steps[0]), count(steps[1])))


def _line(stage: str, points: Sequence[tuple[float, float]], steps: tuple[float, float], values: tuple[float, float]) -> Line:
    places = [(_place(step, steps, LEFT, WIDTH - RIGHT), _place(value, values, HEIGHT - BOTTOM, TOP)) for step, value in points]
    drawn = " ".join(f"{x},{y}" for x, y in places)
    return Line(stage, COLORS[STAGES.index(stage)], drawn, value_text(points[-1][1]), places[-1])


def _place(value: float, ends: tuple[float, float], low: float, high: float) -> str:
    return f"{low + (high - low) * (value - ends[0]) / (ends[1] - ends[0]):.1f}"


def _range(values: list[float]) -> tuple[float, float]:
    """The ends of an axis, which differ."""
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST` of the points; of each group of neighbours the lowest and the highest stay, so that peaks are seen."""
    if len(points) <= MOST:
        return points
    size = -(-2 * len(points) // MOST)
    groups = (points[i : i + size] for i in range(0, len(points), size))
    kept = [point for some in groups for point in sorted({min(some, key=_value), max(some, key=_value)})]
    return [*kept, points[-1]]


def _value(point: tuple[float, float]) -> float:
    return point[1]
