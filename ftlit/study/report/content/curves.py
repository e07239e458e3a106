"""Learning curves, and the sensitivity of arms to the selected values."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.study.report.content.numbers import BlockSummary, Numbers
from ftlit.study.report.render.plots import line_styles
from ftlit.study.state.runs import CellRun
from ftlit.util.render.document import Figure
from ftlit.util.render.drawing import figure, legend_below, logarithmic, panels, spread_over, styled
from ftlit.util.render.formats import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 8  # at most in a plot


Curves = dict[str, tuple[list[float], np.ndarray]]  # steps and values, (runs, steps), by arm


def learning(numbers: Numbers, summary: BlockSummary) -> Figure | None:
    """The metric and the loss on validation over steps, one line per arm; None if runs were validated only once."""
    arms = summary.arms_to_show(numbers.study.compare.baseline, LINES)
    plotted: dict[str, Curves] = {}
    for metric in dict.fromkeys([numbers.metric, "loss"]):
        known = {label: curve(summary.block.arms[label].repetitions, metric) for label in arms}
        if curves := {label: points for label, points in known.items() if len(points[0]) > 1}:
            plotted[metric] = curves
    if numbers.metric not in plotted:
        return None
    with styled():
        drawing, plots = panels(len(plotted), height=3.2)
        looks = line_styles(numbers, [label for label in arms if any(label in curves for curves in plotted.values())])
        for axes, (metric, curves) in zip(plots, plotted.items(), strict=True):
            _draw_curves(axes, curves, looks, f"{metric} on validation")
        legend_below(drawing, plots[0])
        text = "means over seeds at the steps that all seeds reached; bands range from the worst to the best seed."
        shown = shown_note(summary, len(plotted[numbers.metric]))
        return figure(drawing, f"Learning curves{summary.block.caption_suffix}", text + shown)


def _draw_curves(axes: "Axes", curves: Curves, looks: Mapping[str, dict[str, Any]], label: str) -> None:
    for name, (steps, values) in curves.items():
        axes.plot(steps, values.mean(0), **looks[name], markersize=3, linewidth=1.3, label=name)
        axes.fill_between(steps, values.min(0), values.max(0), color=looks[name]["color"], alpha=0.13, linewidth=0)
    axes.set(xlabel="step", ylabel=label)
    axes.grid(axis="y")


def still_rising(numbers: Numbers) -> list[str]:
    """Arms whose last validation was the best one in most runs with at least three validations."""
    sign = -1 if numbers.lower else 1
    found = []
    for arm in numbers.arms:
        ends = [_ends_at_best([sign * value for value in run_curve(run, numbers.metric).values()]) for run in arm.repetitions]
        if ends and sum(ends) > len(ends) / 2:
            found.append(arm.arm.name)
    return found


def _ends_at_best(values: list[float]) -> bool:
    return len(values) >= 3 and values[-1] > max(values[:-1])


def run_curve(run: CellRun, metric: str) -> dict[float, float]:
    """The metric of a run on validation by step."""
    return {row["step"]: row[f"val/{metric}"] for row in run.logged() if f"val/{metric}" in row and "step" in row}


def shown_note(summary: BlockSummary, shown: int) -> str:
    """A note on which arms are shown; empty if all are."""
    total = len(summary.estimates)
    return f" Only {shown} of {total} arms are shown: the best ones, and the baseline if there is one." if shown < total else ""


def curve(runs: Sequence[CellRun], metric: str) -> tuple[list[float], np.ndarray]:
    """The steps at which all runs were validated, and the metric there, ``(runs, steps)``."""
    found = [run_curve(run, metric) for run in runs]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    return steps, np.array([[values[step] for step in steps] for values in found])


def sensitivity(numbers: Numbers, summary: BlockSummary) -> list[Figure]:
    """The metric of trials on validation over each selected key, one line per arm, at the best values of the other keys."""
    select = numbers.study.select
    arms = summary.arms_to_show(numbers.study.compare.baseline, LINES)
    found = []
    for key in select.over if select else ():
        lines = {label: points for label in arms if len(points := _best_by_value(numbers, summary, label, key)) > 1}
        if lines:
            found.append(_plot(numbers, summary, key, lines))
    return found


def _best_by_value(numbers: Numbers, summary: BlockSummary, label: str, key: str) -> dict[Any, float]:
    """The best mean over seeds for each value of a key."""
    trials = defaultdict(list)
    for run in summary.block.arms[label].trials:
        value = run.results.get("validation", {}).get(numbers.metric)
        if value is not None and value == value and run.cell.rung is None:
            trials[tuple((name, str(chosen)) for name, chosen in run.cell.chosen.items())].append((run.cell.chosen[key], value))
    found: dict[Any, float] = {}
    for points in trials.values():
        at, mean = points[0][0], sum(value for _, value in points) / len(points)
        found[at] = mean if at not in found else min(found[at], mean) if numbers.lower else max(found[at], mean)
    return dict(sorted(found.items(), key=lambda pair: pair[0])) if all(isinstance(at, int | float) for at in found) else found


def _plot(numbers: Numbers, summary: BlockSummary, key: str, lines: Mapping[str, Mapping[Any, float]]) -> Figure:
    short = key.rsplit(".", 1)[-1]
    values = list(dict.fromkeys(at for points in lines.values() for at in points))
    numeric = all(isinstance(at, int | float) for at in values)
    place = {at: at if numeric else i for i, at in enumerate(values)}
    with styled():
        drawing, (axes,) = panels(1, height=3.0)
        for label, points in lines.items():
            style: dict[str, Any] = {**line_styles(numbers, list(lines))[label], "markersize": 4, "linewidth": 1.3}
            axes.plot([place[at] for at in points], list(points.values()), markerfacecolor="none", label=label, **style)
            filled = [at for at in points if any(one.get(key) == at for one in summary.block.arms[label].choices.values())]
            axes.plot([place[at] for at in filled], [points[at] for at in filled], **{**style, "linestyle": "none"})
        if numeric and spread_over(values):
            logarithmic(axes)
        if len(values) <= 8:
            axes.set_xticks([place[at] for at in values], [value_text(at) for at in values])
            axes.minorticks_off()
        axes.set(xlabel=short, ylabel=f"{numbers.metric} on validation")
        axes.grid(axis="y")
        legend_below(drawing, axes)
        several = numbers.study.select is not None and len(numbers.study.select.over) > 1
        others = ", at the best values of the other selected keys" if several else ""
        text = f"means of the trials with each value{others}; filled where a seed chose the value."
        return figure(drawing, f"Sensitivity to {short}{summary.block.caption_suffix}", text + shown_note(summary, len(lines)))
