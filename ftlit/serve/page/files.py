"""The files beside the pages: scripts, style and icon. They hold no data, so nobody needs a token for them."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ftlit.serve.page.rendering import HEADERS, STATIC
from ftlit.serve.problems import ProblemError

KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}  # by the ends of names


class File(NamedTuple):
    """A file that browsers keep as long as its content is the same.

    Attributes:
        content: Its bytes.
        kind: Its media type.
        tag: A hash of its content, in quotes.
    """

    content: bytes
    kind: str
    tag: str


@cache
def static_files() -> dict[str, File]:
    """The files by name; the colours and fonts are those of reports."""
    found = [path for path in files("ftlit.serve").joinpath("static").iterdir() if path.name.partition(".")[2] in KINDS]
    found.append(files("ftlit.util.render").joinpath("theme.css"))
    return {path.name: _file(path.name, path.read_bytes()) for path in found}


def _file(name: str, content: bytes) -> File:
    return File(content, KINDS[name.partition(".")[2]], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


async def static(request: Request) -> Response:
    """A file, or that the browser has it already."""
    name = request.path_params["name"]
    if (file := static_files().get(name)) is None:
        raise ProblemError(404, f"there is no file {STATIC}{name}")
    headers = {**HEADERS, "cache-control": "no-cache", "etag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.kind)
