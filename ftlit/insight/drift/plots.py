"""The plots of the report of drift."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.insight.drift.measure import Drift
from ftlit.util.render.document import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS, POINTS = 30, 500  # bins of a histogram, and points of each sample


def length_figure(found: Drift) -> Figure:
    """Histograms of the numbers of tokens."""
    caption = "as the model reads them; the last bin holds all longer rows."
    both = [np.array(part, dtype=float) for part in found.lengths]
    return _histogram(found, both, "tokens", "Length", caption)


def distance_figure(found: Drift) -> Figure:
    """Histograms of the distances to the nearest row of train."""
    caption = "of pooled states, in standard deviations of train; the last bin holds all rows that are farther."
    both = [found.distances.reference, found.distances.new]
    return _histogram(found, both, "distance", "Distance to the nearest row of train", caption)


def _histogram(found: Drift, both: list[np.ndarray], label: str, title: str, caption: str) -> Figure:
    from ftlit.util.render.drawing import figure, legend_below, sheet, styled

    with styled():
        drawing = sheet(5.6, 2.7)
        axes = drawing.subplots()
        end = max(float(np.quantile(np.concatenate(both), 0.99)), 1e-6)
        bins = np.linspace(0, end, BINS + 1)
        for values, name, color in zip(both, *_names(found), strict=True):
            weights = np.full(len(values), 100 / len(values))
            axes.hist(np.minimum(values, end), bins.tolist(), weights=weights, histtype="stepfilled", color=color, alpha=0.25)
            axes.hist(np.minimum(values, end), bins.tolist(), weights=weights, histtype="step", color=color, label=name)
        axes.set_xlabel(label)
        axes.set_ylabel("% of the rows")
        legend_below(drawing, axes)
        return figure(drawing, title, caption)


def state_figure(found: Drift) -> Figure:
    """The first two principal components of the pooled states."""
    from ftlit.util.render.drawing import figure, legend_below, sheet, styled

    caption = f"first two principal components of the standardised pooled states; at most {POINTS} rows of each."
    with styled():
        drawing = sheet(5.6, 4.2)
        axes = drawing.subplots()
        _scatter(axes, found)
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")
        legend_below(drawing, axes)
        return figure(drawing, "Embeddings", caption)


def _scatter(axes: "Axes", found: Drift) -> None:
    for points, name, color, marker in zip(found.points, *_names(found), "os", strict=True):
        some: Any = np.random.default_rng(0).permutation(len(points))[:POINTS]
        axes.plot(*points[some].T, marker, color=color, markersize=2.5, alpha=0.5, markeredgewidth=0, label=name)


def _names(found: Drift) -> tuple[tuple[str, str], tuple[str, ...]]:
    from ftlit.util.render.drawing import COLORS

    return (found.settings.reference, "new rows"), COLORS[:2]
