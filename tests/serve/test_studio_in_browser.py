"""The studio in a browser: curves that grow, examples, reports in a frame, the token, phones, and texts with markup."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftlit.serve.guard import State
from tests.serve.test_page_in_browser import HOSTILE, TOKEN, opened, texts
from tests.serve.test_studio import make_study
from tests.support.browser import PHONE, browser, why_no_browser
from tests.support.run_folders import answers, write_run
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser()))]


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser() as found:
        yield found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run whose texts have markup."""
    rows = [{**row, "text": f"{HOSTILE} {i}"} for i, row in enumerate(answers(0, 0.5))]
    rows[0] |= {"label": HOSTILE, "prediction": "good"}
    write_run(tmp_path / "first", rows, started="2026-01-01T10:00:00Z", monitor="val/accuracy", backbone=HOSTILE)
    (tmp_path / "first" / "metrics.csv").write_text("step,epoch,train/loss\n1,0,1\n2,0,0.5\n")
    report = {"labels": ["good", "bad", HOSTILE], "confusion": [[9, 3, 0], [4, 9, 0], [1, 0, 0]]}
    (tmp_path / "first" / "test_report.json").write_text(json.dumps(report))
    return tmp_path


def test_from_the_list_to_the_examples_that_were_confused(chromium: "Browser", root: Path) -> None:
    with serving({}, studio=root) as server, opened(chromium, server.app) as page:
        page.get_by_role("link", name="first").click()
        page.get_by_role("row", name=HOSTILE).get_by_role("link").click()
        page.wait_for_selector(".example")
        assert texts(page, ".example dd:nth-of-type(1)") == [HOSTILE]
        assert page.input_value("[name=label]") == HOSTILE
        page.select_option("[name=label]", "")
        page.select_option("[name=prediction]", "")
        page.select_option("[name=only]", "all")
        page.fill("[name=q]", "window.hit 49")
        page.get_by_role("button", name="Show").click()
        page.wait_for_function("() => document.querySelectorAll('.example').length === 1")
        assert texts(page, ".example .written") == [f"{HOSTILE} 49"]
        assert page.evaluate("[window.hit, document.images.length, document.scripts.length]") == [None, 0, 1]


def test_curves_grow_while_the_run_runs(chromium: "Browser", root: Path) -> None:
    record = json.loads((root / "first" / "run.json").read_text())
    (root / "first" / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with serving({}, studio=root) as server, opened(chromium, server.app, "/studio/run/first") as page:
        assert texts(page, ".key") == [" train 0.5"] or texts(page, ".key") == ["train 0.5"]
        (root / "first" / "metrics.csv").write_text("step,epoch,train/loss\n1,0,1\n2,0,0.5\n3,0,0.25\n")
        page.wait_for_function("() => document.querySelector('polyline').getAttribute('points').split(' ').length === 3")
        (root / "first" / "run.json").write_text(json.dumps({**record, "status": "completed"}))
        page.wait_for_function("() => !document.querySelector('[data-live]')")
        assert texts(page, ".curves .lead") == ["completed"]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_report_is_shown_and_runs_nothing(token: str | None, chromium: "Browser", root: Path) -> None:
    report = make_study(root) / "report" / "report.html"
    report.write_text(
        "<style>p { color: rgb(1, 2, 3) }</style><p style='margin: 7px'>The report<script>parent.hit = 1</script>"
        "<img src='http://elsewhere.example/x.png'><a href=\"#part\">part</a><h2 id='part'>Part</h2>"
    )
    path, blocked = "/studio/study/study", ("Blocked script execution in 'about:srcdoc'", "Loading the image")
    with serving({}, State(token=token), studio=root) as server, opened(chromium, server.app, path, blocked) as page:
        if token:
            page.fill("#token", token)
            page.keyboard.press("Enter")
        inner = page.frame_locator("iframe")
        assert inner.locator("p").inner_text().startswith("The report")
        style = inner.locator("p").evaluate("one => [getComputedStyle(one).color, getComputedStyle(one).marginTop]")
        assert style == ["rgb(1, 2, 3)", "7px"]
        inner.get_by_role("link", name="part").click()
        assert inner.locator("h2").is_visible()
        assert page.evaluate("window.hit") is None


def test_the_token_opens_every_page(chromium: "Browser", root: Path) -> None:
    with serving({}, State(token=TOKEN), studio=root) as server, opened(chromium, server.app, "/studio/") as page:
        assert "first" not in texts(page, "main")[0]
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="first").click()
        page.get_by_role("link", name="test", exact=True).click()
        page.select_option("[name=only]", "all")
        page.get_by_role("button", name="Show").click()
        page.wait_for_selector("text=50 of 50 examples")
        assert TOKEN not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones(scheme: Any, chromium: "Browser", root: Path) -> None:
    (make_study(root) / "report" / "report.html").write_text("<table><tr><td>" + "<td>wide" * 99 + "</table>")
    options = {"viewport": PHONE, "color_scheme": scheme}
    with serving({}, studio=root) as server:
        for path in ("", "run/first", "examples/first", "study/study"):
            with opened(chromium, server.app, f"/studio/{path}", **options) as page:
                assert page.locator("h1").is_visible()
