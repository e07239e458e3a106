"""A document as a single HTML page that needs no network."""

from functools import cache, partial
from itertools import count
from typing import TYPE_CHECKING

from ftlit.util.render.document import Document
from ftlit.util.render.drawing import own_ids

if TYPE_CHECKING:
    from jinja2 import Template


def page(document: Document) -> str:
    """Format a document as HTML; all texts are escaped."""
    return _template().render(document=document, next_number=partial(next, count(1)))


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    found = Environment(loader=PackageLoader("ftlit.util.render", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters["drawing"] = lambda svg, number: Markup(own_ids(svg, f"f{number}-"))
    return found.get_template("report.html.j2")
