"""Pages with headers that keep others out: no script inside a page, nothing from other hosts, no frame of another page."""

from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = "/static/"  # where the files beside the pages are
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; style-src {style}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
OWN_STYLE = "'self'"
STYLE_INSIDE = "'self' 'unsafe-inline'"  # for a page that shows a report, whose style is inside it


def html(template: str, status: int = 200, style: str = OWN_STYLE, **values: Any) -> Response:
    """A page from a template, in which all values are escaped.

    Args:
        template: Name of the template.
        status: Status of the response.
        style: Sources from which the page may take its style.
        **values: What the template shows.
    """
    text = environment().get_template(template).render(**values)
    headers = {**HEADERS, "content-security-policy": POLICY.format(style=style)}
    return Response(text, status, headers, "text/html")


def sign_in() -> Response:
    """The page that asks for the token and shows nothing of the server. With the token, it fetches the page of its address."""
    found = html("sign_in.html.j2", 401, STYLE_INSIDE, title="ftlit serve")
    found.headers["www-authenticate"] = "Bearer"
    return found


@cache
def environment() -> "Environment":
    """The templates of all pages."""
    from jinja2 import Environment, PackageLoader

    from ftlit.util.render import formats

    found = Environment(loader=PackageLoader("ftlit.serve", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"count": formats.count, "number": formats.number, "share": formats.share}
    return found
