"""Plots as inline SVG with the font and colours of the page, for light and dark themes, and reproducible byte for byte."""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftlit.util.render.document import Figure
from ftlit.util.render.formats import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

INK, RULE = "#010203", "#040506"  # placeholders, replaced by the colours of the page
COLORS = ("#3b7dd8", "#d9782b", "#2f9e6e", "#c94f7c", "#8b6fcf", "#2a9db0", "#a8843e", "#7a8290", "#d1495b", "#6a9a2d")
MARKER_SHAPES = "osD^vPX<>h"  # so that lines can be distinguished without colours
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ftlit",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.formatter.use_mathtext": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is not mathematics
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def styled() -> Iterator[None]:
    """Set matplotlib to this style inside the block, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def sheet(width: float, height: float) -> "Sheet":
    """An empty drawing; width and height are in inches."""
    from matplotlib.figure import Figure as Sheet  # not pyplot, which would look for a display

    return Sheet(figsize=(width, height), layout="constrained")


def panels(number_of: int, width: float = 5.6, height: float = 2.7) -> tuple["Sheet", list["Axes"]]:
    """A drawing with `number_of` plots, at most three in a row."""
    columns = min(number_of, 3)
    rows = -(-number_of // columns)
    drawing = sheet(width if columns == 1 else 3.4 * columns, height * rows + 0.2)
    grid = drawing.subplots(rows, columns, squeeze=False)
    flat = [axes for row in grid for axes in row]
    for unused in flat[number_of:]:
        unused.remove()
    return drawing, flat[:number_of]


def figure(drawing: "Sheet", title: str, caption: str, alt: str = "") -> Figure:
    """A drawing as inline SVG.

    Args:
        drawing: The drawing.
        title: Title of the figure.
        caption: Text that follows the title in the caption.
        alt: Alternative text for screen readers; by default the title.
    """
    out = io.StringIO()
    drawing.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    body = text[text.index("<defs>") : text.rindex("</svg>")]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # would apply to the whole page
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body.replace(INK, "currentColor").replace(RULE, "var(--rule)"))
    width, height = (72 * size for size in drawing.get_size_inches())
    opening = (
        f'<svg role="img" aria-label="{html.escape(alt or title, quote=True)}" viewBox="0 0 {width:g} {height:g}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Figure(f"{opening}{body}</svg>", f"{title}: {caption}", round(width * 4 / 3))


def own_ids(text: str, prefix: str) -> str:
    """Prefix the ids of an SVG, so that they are unique in the page."""
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", text)


def spread_over(values: Sequence[float]) -> bool:
    """Whether numbers are positive and span a factor of ten or more, so that an axis should be logarithmic."""
    return bool(values) and min(values) > 0 and max(values) > 9.99 * min(values)


def logarithmic(axes: "Axes") -> None:
    """Make the horizontal axis logarithmic, with numbers formatted as in tables."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, place: count(value))
    axes.xaxis.set_minor_formatter(lambda value, place: "")


def legend_below(drawing: "Sheet", axes: "Axes") -> None:
    """Add a legend below the plots."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        drawing.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
