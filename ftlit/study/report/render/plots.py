"""The plots of a comparison: differences, quality against cost, and quality over a numeric axis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.study.report.content.numbers import BlockSummary, Numbers
from ftlit.study.statistics.compare import Comparison, Estimate
from ftlit.util.render.document import Figure
from ftlit.util.render.drawing import (
    COLORS,
    INK,
    MARKER_SHAPES,
    figure,
    legend_below,
    logarithmic,
    panels,
    sheet,
    spread_over,
    styled,
)
from ftlit.util.render.formats import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = dict[str, dict[float, Estimate]]  # for each line the estimates by x
MAX_ROWS = 30  # rows of a readable plot
COSTS = {"trained": "trained parameters", "seconds": "training seconds", "memory": "peak memory, MB"}


def difference_plot(numbers: Numbers, summary: BlockSummary) -> Figure:
    """Differences to the baseline with their intervals, best arm on top."""
    baseline = str(numbers.study.compare.baseline)
    found = sorted(summary.against(baseline), key=lambda one: one.difference, reverse=not numbers.lower)
    some = found if len(found) <= MAX_ROWS else [*found[: MAX_ROWS - 5], *found[-5:]]
    title = f"Differences to {baseline}{summary.block.caption_suffix}"
    with styled():
        drawing = sheet(6.2, 0.9 + 0.27 * len(some))
        axes = drawing.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.6)
        for i, one in enumerate(reversed(some)):
            _interval(axes, one, i)
            _dots(axes, summary, one.arm, i, summary.estimates[baseline].mean)
        axes.set_yticks(range(len(some)), [one.arm for one in reversed(some)])
        axes.set_ylim(-0.6, len(some) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(f"{numbers.metric} minus that of {baseline}")
        left = f" Only the best {MAX_ROWS - 5} and the worst 5 of {len(found)} are shown." if len(some) < len(found) else ""
        filled = f"filled markers differ significantly (adjusted p of at most {numbers.study.compare.level:g})"
        said = f"{title}: {', '.join(_spoken(one) for one in some)}"
        dots = f" Small dots are the seeds of an arm, minus the mean of {baseline}." if len(numbers.study.seeds) > 1 else ""
        return figure(drawing, title, f"{filled}; lines are {numbers.confidence} intervals.{dots}{left}", said)


def _dots(axes: "Axes", summary: BlockSummary, label: str, place: float, minus: float = 0.0, upright: bool = False) -> None:
    """The metric of each seed of an arm, at a place on the other axis."""
    values = summary.paired.evidence[label].scores - minus
    if len(values) > 1:
        places = [place] * len(values)
        axes.plot(*((places, values) if upright else (values, places)), ".", color=INK, markersize=3, alpha=0.6, zorder=3)


def _spoken(one: Comparison) -> str:
    return f"{one.arm} {one.difference:+.3g} ({one.low:+.3g} to {one.high:+.3g})"


def _interval(axes: "Axes", one: Comparison, place: int) -> None:
    color = COLORS[0]
    axes.plot([one.low, one.high], [place, place], color=color, linewidth=1.4, solid_capstyle="butt")
    face = color if one.different else "none"
    axes.plot([one.difference], [place], "o", color=color, markerfacecolor=face, markersize=5)


def line_styles(numbers: Numbers, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each arm: the same in every plot, unless there are more arms than colours."""
    levels = list(numbers.study.axes[str(numbers.study.compare.axis)])
    order = levels if len(levels) <= len(COLORS) and set(labels) <= set(levels) else list(labels)
    places = {label: order.index(label) % len(COLORS) for label in labels}
    return {label: {"color": COLORS[place], "marker": MARKER_SHAPES[place]} for label, place in places.items()}


def pareto_front(quality: Mapping[str, float], costs: Mapping[str, float], lower: bool) -> list[str]:
    """The Pareto front: the names for which no other is better at the same or a lower cost, or as good at a lower cost.

    Args:
        quality: The metric by name.
        costs: The cost by name.
        lower: Whether lower values of the metric are better.
    """
    sign = 1 if lower else -1
    found, best = [], np.inf
    for name in sorted(costs, key=lambda name: (costs[name], sign * quality[name])):
        if sign * quality[name] < best:
            found.append(name)
            best = sign * quality[name]
    return found


def known_costs(summary: BlockSummary, kind: str) -> dict[str, float]:
    """A kind of cost by level, for arms for which it was measured."""
    values = {label: getattr(summary.costs[label], kind) for label in summary.estimates}
    unit = 1e6 if kind == "memory" else 1
    return {label: value / unit for label, value in values.items() if value is not None}


def against_costs(numbers: Numbers, summary: BlockSummary) -> Figure | None:
    """The metric against each cost, with the Pareto front; None if no cost differs."""
    costs = {kind: found for kind in COSTS if len(set((found := known_costs(summary, kind)).values())) > 1}
    if not costs:
        return None
    quality = {label: one.mean for label, one in summary.estimates.items()}
    fronts = {kind: pareto_front(quality, found, numbers.lower) for kind, found in costs.items()}
    title = f"{numbers.metric} against cost{summary.block.caption_suffix}"
    with styled():
        drawing, plots = panels(len(costs), height=2.9)
        for axes, (kind, found) in zip(plots, costs.items(), strict=True):
            _scatter(axes, numbers, summary, found, fronts[kind])
            axes.set_xlabel(COSTS[kind])
        plots[0].set_ylabel(numbers.metric)
        said = "; ".join(f"{listed(names, 8)} by {COSTS[kind].split(',')[0]}" for kind, names in fronts.items())
        text = (
            f"lines are {numbers.confidence} intervals, small dots are seeds. Filled and joined is the Pareto front, the arms "
            f"for which no other is as good and cheaper: {said}."
        )
        return figure(drawing, title, text)


def _scatter(axes: "Axes", numbers: Numbers, summary: BlockSummary, costs: Mapping[str, float], best: Sequence[str]) -> None:
    means, looks = [summary.estimates[name].mean for name in best], line_styles(numbers, list(costs))
    axes.plot([costs[name] for name in best], means, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    for label, x in costs.items():
        one, style = summary.estimates[label], looks[label]
        axes.plot([x, x], [one.low, one.high], color=style["color"], linewidth=1)
        _dots(axes, summary, label, x, upright=True)
        axes.plot([x], [one.mean], **style, markersize=5, markerfacecolor=style["color"] if label in best else "none")
        if len(costs) <= MAX_ROWS:
            axes.annotate(label, (x, one.mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
    if spread_over(list(costs.values())):
        logarithmic(axes)
    axes.margins(x=0.22)


def numeric_axis(numbers: Numbers) -> str | None:
    """The first axis with three or more levels that are all numbers."""
    for axis, levels in numbers.study.axes.items():
        if len(levels) > 2 and all(_is_number(label) for label in levels):
            return axis
    return None


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def over_axis(numbers: Numbers, axis: str, limit: int) -> list[Figure]:
    """The metric over a numeric axis: one plot for each setting of the other axes, one line for each compared arm."""
    compared = str(numbers.study.compare.axis)
    found: dict[str, Lines] = {}
    for summary in numbers.blocks:
        for label, one in summary.estimates.items():
            levels = summary.block.arms[label].arm.levels
            panel = _panel(numbers, summary.block.base, {k: v for k, v in levels.items() if k not in (axis, compared)})
            line = numbers.metric if axis == compared else label
            found.setdefault(panel, {}).setdefault(line, {})[float(levels[axis])] = one
    return [_line_plot(numbers, axis, panel, lines) for panel, lines in list(found.items())[:limit]]


def _panel(numbers: Numbers, base: str, levels: Mapping[str, str]) -> str:
    kept = [f"{axis} {level}" for axis, level in levels.items() if len(numbers.study.axes[axis]) > 1]
    return ", ".join([base, *kept] if len(numbers.study.bases) > 1 else kept)


def _line_plot(numbers: Numbers, axis: str, panel: str, lines: Lines) -> Figure:
    some = dict(list(lines.items())[: len(COLORS)])
    title = f"{numbers.metric} over {axis}" + (f", {panel}" if panel else "")
    with styled():
        drawing, (axes,) = panels(1, height=3.3)
        looks = line_styles(numbers, list(some))
        for label, points in some.items():
            places = sorted(points)
            means, lows, highs = ([getattr(points[x], name) for x in places] for name in ("mean", "low", "high"))
            axes.plot(places, means, **looks[label], markersize=4, linewidth=1.3, label=label)
            axes.fill_between(places, lows, highs, color=looks[label]["color"], alpha=0.13, linewidth=0)
        xs = sorted({x for points in some.values() for x in points})
        if spread_over(xs):
            logarithmic(axes)
            axes.minorticks_off()
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.set(xlabel=axis, ylabel=f"{numbers.metric} on {numbers.study.compare.split}")
        axes.grid(axis="y")
        legend_below(drawing, axes)
        left = f" Only the first {len(some)} of {len(lines)} arms are shown." if len(some) < len(lines) else ""
        return figure(drawing, title, f"means over seeds, with {numbers.confidence} intervals as bands.{left}")
