"""A headless Chromium, and servers that it can reach."""

import asyncio
import importlib.util
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from ftlit.serve.guard import Guard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
REFUSED = "Failed to load resource: the server responded with a status of"  # 401, 422: what the browser itself notes
PHONE = {"width": 360, "height": 740}  # pixels


def why_no_browser() -> str | None:
    """Why no page can be opened; None if it can."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return None if CHROMIUM.is_file() else f"there is no {CHROMIUM}"


@contextmanager
def browser() -> Iterator["Browser"]:
    """A browser without windows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        try:
            yield found
        finally:
            found.close()


@contextmanager
def listening(app: Guard) -> Iterator[str]:
    """The address of an application on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([own])), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{own.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


class Tab:
    """A page in a browser context of its own, which notes what should not happen.

    Args:
        browser: The browser.
        address: Address of the server.
        **options: Options of the context, such as `color_scheme` or `viewport`.
    """

    def __init__(self, browser: "Browser", address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(accept_downloads=True, **options)
        self.elsewhere: list[str] = []  # requests to other hosts, which are not let out
        self.errors: list[str] = []  # of scripts and of the policy of contents
        self.context.route("**/*", self._route)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, said: Any) -> None:
        if said.type == "error" and not said.text.startswith(REFUSED):
            self.errors.append(said.text)

    def _route(self, route: Any) -> None:
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def open(self, path: str = "/") -> "Page":
        """Open a path of the server."""
        self.page.goto(f"{self.address}{path}")
        return self.page

    def check(self) -> None:
        """Check that nothing was asked of other hosts, no script failed, and nothing is wider than the screen."""
        width = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert self.elsewhere == []
        assert self.errors == [], self.errors
        assert width[0] <= width[1], width

    def close(self) -> None:
        """Close the page."""
        self.context.close()
