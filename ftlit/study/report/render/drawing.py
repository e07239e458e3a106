"""Drawings as SVG that stand in a page: its font and ink, readable on light and dark paper, the same bytes each time."""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftlit.study.report.render.document import Figure
from ftlit.study.report.render.formats import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

INK, RULE = "#010203", "#040506"  # stand for the page's colours, which are set in their place
COLORS = ("#3b7dd8", "#d9782b", "#2f9e6e", "#c94f7c", "#8b6fcf", "#2a9db0", "#a8843e", "#7a8290", "#d1495b", "#6a9a2d")
MARKERS = "osD^vPX<>h"  # so that lines are told apart without colours too
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
    "text.parse_math": False,  # a $ in a name is a $
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def styled() -> Iterator[None]:
    """Inside, matplotlib draws in this style, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def sheet(width: float, height: float) -> "Sheet":
    """An empty drawing, sizes in inches."""
    from matplotlib.figure import Figure as Sheet  # not pyplot, which would look for a screen

    return Sheet(figsize=(width, height), layout="constrained")


def panels(number_of: int, width: float = 5.6, height: float = 2.7) -> tuple["Sheet", list["Axes"]]:
    """A drawing with so many plots, three in a row."""
    columns = min(number_of, 3)
    rows = -(-number_of // columns)
    drawing = sheet(width if columns == 1 else 3.4 * columns, height * rows + 0.2)
    grid = drawing.subplots(rows, columns, squeeze=False)
    flat = [axes for row in grid for axes in row]
    for unused in flat[number_of:]:
        unused.remove()
    return drawing, flat[:number_of]


def figure(drawing: "Sheet", title: str, caption: str, alt: str = "") -> Figure:
    """A drawing as it stands inside a page.

    Args:
        drawing: The drawing.
        title: What it shows.
        caption: What stands below it after the title.
        alt: What readers hear who cannot see it, by default the title.
    """
    out = io.StringIO()
    drawing.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    body = text[text.index("<defs>") : text.rindex("</svg>")]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # would reach the whole page
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body.replace(INK, "currentColor").replace(RULE, "var(--rule)"))
    width, height = (72 * size for size in drawing.get_size_inches())
    opening = (
        f'<svg role="img" aria-label="{html.escape(alt or title, quote=True)}" viewBox="0 0 {width:g} {height:g}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Figure(f"{opening}{body}</svg>", f"{title}: {caption}", round(width * 4 / 3))


def own_ids(text: str, prefix: str) -> str:
    """The same SVG with ids that no other drawing of the page has."""
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", text)


def spread_over(values: Sequence[float]) -> bool:
    """Whether positive numbers span ten times or more, so that an axis should be logarithmic."""
    return bool(values) and min(values) > 0 and max(values) > 9.99 * min(values)


def logarithmic(axes: "Axes") -> None:
    """Make the horizontal axis logarithmic, with numbers as they are read elsewhere."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, place: count(value))
    axes.xaxis.set_minor_formatter(lambda value, place: "")


def legend_below(drawing: "Sheet", axes: "Axes") -> None:
    """The names of the lines in rows below the plots."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        drawing.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
