"""Reliability diagrams and risk-coverage curves."""

from typing import TYPE_CHECKING

import numpy as np

from ftlit.insight.calibration.outcome import Outcome
from ftlit.insight.shares import wilson
from ftlit.metrics.calibration.decisions import Decisions
from ftlit.metrics.calibration.errors import reliability
from ftlit.metrics.calibration.selection import risk_coverage
from ftlit.util.render.document import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHEN = ("before", "after")


def reliability_figure(found: Outcome, place: int) -> Figure:
    """The reliability diagrams before and after of one sort of decision.

    Args:
        found: The outcome.
        place: Position of the sort of decision.
    """
    from ftlit.util.render.drawing import figure, panels, styled

    pair = (found.before[place], found.after[place])
    with styled():
        drawing, plots = panels(2, height=2.9)
        for number, (axes, one) in enumerate(zip(plots, pair, strict=True)):
            _diagram(axes, one, number)
            axes.set_title(WHEN[number])
        plots[0].set_ylabel("share that came true")
        caption = (
            "each point is a bin of the same number of decisions, with a 95% interval of its share (Wilson); on the line, "
            "scores are probabilities."
        )
        return figure(drawing, f"Reliability of {pair[0].of} on {found.split}", caption)


def _diagram(axes: "Axes", one: Decisions, number: int) -> None:
    from ftlit.util.render.drawing import COLORS, INK

    bins = reliability(one.stated)
    low, high = wilson(bins.true, bins.size)
    errors = np.maximum([bins.true - low, high - bins.true], 0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
    axes.errorbar(bins.stated, bins.true, errors, fmt="o", color=COLORS[number], markersize=4, linewidth=0.9)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean score")


def coverage_figure(found: Outcome) -> Figure:
    """The risk-coverage curves of each sort of decision, before and after."""
    from ftlit.util.render.drawing import COLORS, figure, legend_below, panels, styled

    with styled():
        drawing, plots = panels(len(found.before), height=2.9)
        for place, axes in enumerate(plots):
            for number, one in enumerate((found.before[place], found.after[place])):
                curve = risk_coverage(one.answers)
                axes.plot(curve.coverage, curve.risk, color=COLORS[number], label=WHEN[number], linewidth=1.2)
            axes.set(
                xlim=(0, 1.02), ylim=(0, None), xlabel="share that is answered, the surest first", title=found.before[place].of
            )
        plots[0].set_ylabel("share of wrong answers")
        legend_below(drawing, plots[0])
        caption = "how many answers are wrong if only the surest are given. A temperature hardly changes which are the surest."
        return figure(drawing, f"Risk and coverage on {found.split}", caption)
