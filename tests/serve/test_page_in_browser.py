"""The page in a browser: every task, files, conversations, models side by side, hostile texts, phones and dark rooms."""

import asyncio
import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftlit.serve.guard import State
from tests.support.browser import PHONE, Tab, browser, listening, why_no_browser
from tests.support.served_tasks import Case
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser()))]
HOSTILE = "good <script>window.hit = 1</script><img src=x onerror='window.hit = 1'> \"'> ${window.hit=1}"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser() as found:
        yield found


@contextmanager
def opened(chromium: "Browser", app: Any, path: str = "/", blocked: tuple[str, ...] = (), **options: Any) -> Iterator["Page"]:
    """The page of an application. At the end, nothing has been asked of other hosts, no script has failed, and it fits.

    Args:
        chromium: The browser.
        app: The application.
        path: Path of the page.
        blocked: How the browser begins to say that it blocked something, as it should.
        **options: Options of the browser's context.
    """
    with listening(app) as address:
        tab = Tab(chromium, address, **options)
        try:
            yield tab.open(path)
            assert all(any(said.startswith(one) for said in tab.errors) for one in blocked), tab.errors
            tab.errors = [said for said in tab.errors if not said.startswith(blocked)] if blocked else tab.errors
            tab.check()
        finally:
            tab.close()


def answer(page: "Page", values: dict[str, str], model: str = "model") -> "Page":
    """Fill in the form of a row, and wait for the answer."""
    section = page.locator(f"#model-{model}")
    for column, value in values.items():
        section.locator(f".field[data-column='{column}']").locator("textarea, input").fill(value)
    section.get_by_role("button", name="Predict", exact=True).click()
    section.locator(".answer").first.wait_for()
    return page


def texts(page: "Page", selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()


# Tasks


def test_a_label_with_its_scores(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("sentiment")
    [expected] = predictor(rows[:1], scores=True)
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"text": rows[0]})
        assert texts(page, ".answer .value") == [expected["prediction"]]
        ordered = sorted(expected["scores"].items(), key=lambda pair: -pair[1])
        assert texts(page, ".bars th") == [name for name, _ in ordered]
        assert texts(page, ".bars .share") == [f"{100 * score:.1f}%" for _, score in ordered]
        widths = page.locator(".bar i").evaluate_all("found => found.map(one => parseFloat(one.style.width))")
        assert widths == pytest.approx([100 * score for _, score in ordered], abs=0.01)


def test_several_labels(chromium: "Browser", cases: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, rows = cases("emotions")
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"text": rows[0]})
        assert texts(page, ".answer .value") == ["no label"]
        found = [{"prediction": ["good", "long"], "scores": {"good": 0.9, "bad": 0.1, "long": 0.8}}]
        monkeypatch.setattr(predictor.model, "predict_batch", lambda batch: found)
        answer(page, {"text": rows[1]})
        page.wait_for_selector(".labels")
        assert texts(page, ".labels li") == ["good", "long"]
        assert texts(page, ".bars th") == ["good", "long", "bad"]


def test_a_number(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("grades")
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, rows[0])
        assert float(texts(page, ".answer .value")[0]) == pytest.approx(predictor(rows[:1])[0]["prediction"], abs=1e-4)


def test_entities_are_marked_in_place(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    """Places count characters, of which one beyond the basic plane is two in JavaScript."""
    predictor, _ = cases("tags")
    text = "be 😀 chfe\tde  df dh cehe"
    expected = predictor([text])[0]["prediction"]
    assert len(expected) > 2
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"tokens": text})
        marks = page.locator(".answer .text mark").evaluate_all("found => found.map(one => one.firstChild.data)")
        assert marks == [one["text"] for one in expected]
        assert texts(page, ".answer mark .label") == [one["label"] for one in expected]
        plain = page.evaluate(
            "() => { const found = document.querySelector('.text').cloneNode(true);"
            " found.querySelectorAll('.label').forEach(one => one.remove()); return found.textContent }"
        )
        assert plain == text


def test_a_relation(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    """Entities are written, or taken from a selection, which counts even if the same words come earlier."""
    predictor, _ = cases("relations")
    row = {"text": "ab word1 cd word1 ef", "head": {"start": 12, "end": 17}, "tail": {"start": 0, "end": 2}}
    [expected] = predictor([row], scores=True)
    with serving(predictor) as server, opened(chromium, server.app) as page:
        page.fill("[data-column=text] textarea", row["text"])
        page.evaluate("document.querySelector('[data-column=text] textarea').setSelectionRange(12, 17)")
        page.click("[data-column=head] .take")
        assert page.input_value("[data-column=head] input") == "word1"
        with page.expect_request("**/predict*") as sent:
            answer(page, {"tail": "ab"})
        assert sent.value.post_data_json == [row]
        assert texts(page, ".answer .value") == [expected["prediction"]]
        assert [re.sub(r"\s+", " ", one) for one in texts(page, ".answer mark")] == ["abtail", "word1head"]
        page.fill("[data-column=tail] input", "nowhere")
        page.get_by_role("button", name="Predict", exact=True).click()
        page.wait_for_selector(".answers .problem")
        assert texts(page, ".answers .problem") == ["the words of tail are not in the text"]


def test_an_answer_in_its_context(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("answers")
    [expected] = predictor(rows[2:3], scores=True)
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, rows[2])
        assert texts(page, ".answer .value") == [expected["prediction"]]
        assert texts(page, ".answer .text mark") == [expected["prediction"]]
        assert texts(page, ".answer .text") == [rows[2]["context"]]


def test_the_chosen_of_several_choices(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("questions")
    row = {"question": rows[0]["question"], "choices": rows[0]["choices"]}
    [expected] = predictor([row])
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"question": row["question"], "choices": "\n".join(row["choices"]) + "\n\n"})
        assert texts(page, ".bars th") == row["choices"]
        assert texts(page, ".bars .best th") == [expected["prediction"]]


@pytest.mark.parametrize("task", ["reversals", "corpus"])
def test_a_text_that_is_written(task: str, chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases(task)
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, dict.fromkeys(predictor.data.input_columns().values(), rows[0]))
        assert texts(page, ".answer .written") == [predictor(rows[:1])[0]["prediction"].strip()]


def test_words_that_were_masked(chromium: "Browser", cases: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, rows = cases("sentiment")
    found = [{"prediction": "a good word", "tokens": ["good", "word"], "score": [0.75, 0.5]}]
    monkeypatch.setattr(predictor.model, "predict_batch", lambda batch: found)
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"text": rows[0]})
        assert texts(page, ".answer .written") == ["a good word"]
        assert [texts(page, ".bars th"), texts(page, ".bars .share")] == [["good", "word"], ["75.0%", "50.0%"]]


def test_a_row_that_is_wrong(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    with serving(cases("sentiment")[0], max_characters=20) as server, opened(chromium, server.app) as page:
        section = page.locator("#model-model")
        section.locator("textarea").fill("good " * 9)
        section.locator("textarea").press("Control+Enter")
        page.wait_for_selector(".answer .problem")
        assert texts(page, ".answer .problem") == ["the row has 47 characters; this server takes 20"]


# Several models


def test_two_models_side_by_side(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    first, second, other = cases("sentiment"), cases("emotions"), cases("tags")
    predictors = {"a": first[0], "b": second[0], "c": other[0]}
    with serving(predictors) as server, opened(chromium, server.app) as page:
        assert texts(page, "#model option") == ["a", "b", "c"]
        assert texts(page, "#model-a .other option") == ["no other model", "b"]
        page.select_option("#model-a .other", "b")
        answer(page, {"text": "good word1"}, "a")
        assert texts(page, ".answer h2") == ["a", "b"]
        assert texts(page, ".answer .value") == [first[0](["good word1"])[0]["prediction"], "no label"]
        assert texts(page, ".agreement") == ["The answers differ."]
        left, right = (page.locator(".answer").nth(i).bounding_box() for i in range(2))
        assert left
        assert right
        assert (left["y"], left["x"] + left["width"] <= right["x"]) == (right["y"], True)
        page.select_option("#model", "c")
        assert page.locator("#model-a").is_hidden()
        assert page.locator("#model-c .row").is_visible()


# Files


def upload(page: "Page", name: str, content: str) -> None:
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "text/plain", "buffer": content.encode()})
    page.get_by_role("button", name="Predict the file").click()


def downloaded(page: "Page", format: str) -> tuple[str, str]:
    """The name and the content of a download."""
    with page.expect_download() as found:
        page.get_by_role("button", name=f"Download {format}").click()
    return found.value.suggested_filename, Path(found.value.path()).read_text("utf-8")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_file_up_and_its_predictions_down(kind: str, chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("sentiment")
    sign = "\t" if kind == "tsv" else ","
    given = [f'{text}{sign} "word{i}"\n好' for i, text in enumerate(rows * 5)]
    lines = [json.dumps({"label": "x", "text": text}) for text in given]
    quoted = [f'x{sign}"' + text.replace('"', '""') + '"' for text in given]
    content = "\n".join(lines) if kind == "jsonl" else "\r\n".join([f"label{sign}text", *quoted])
    expected = predictor(given)
    with serving(predictor, max_rows=20, max_body=800) as server, opened(chromium, server.app) as page:
        upload(page, f"my.{kind}", content)
        page.wait_for_selector(".downloads:visible")
        assert texts(page, ".state")[0].startswith("60 of 60 rows")
        assert page.locator("progress").evaluate("one => one.value") == 1
        name, text = downloaded(page, "jsonl")
        assert name == "my.predictions.jsonl"
        found = [json.loads(line) for line in text.splitlines()]
        assert [(one["id"], one["prediction"]) for one in found] == [(one["id"], one["prediction"]) for one in expected]
        for other, delimiter in (("csv", ","), ("tsv", "\t")):
            name, text = downloaded(page, other)
            assert name == f"my.predictions.{other}"
            [header, *cells] = csv.reader(text.splitlines(), delimiter=delimiter)
            assert header == ["id", "prediction", "score", "truncated"]
            assert [(one[0], one[1]) for one in cells] == [(str(one["id"]), one["prediction"]) for one in expected]
        assert texts(page, ".downloads button")[0] == f"Download {kind}"
    assert server.counted('ftlit_requests_total{endpoint="predict",status="200"}') > 3


def test_rows_of_a_file_that_are_wrong(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, _ = cases("sentiment")
    with serving(predictor) as server, opened(chromium, server.app) as page:
        upload(page, "a.jsonl", '{"text": "good"}\n{"text": "", "id": "mine"}\n')
        page.wait_for_selector(".downloads:visible")
        assert "1 with a problem" in texts(page, ".state")[0]
        second = json.loads(downloaded(page, "jsonl")[1].splitlines()[1])
        assert (second["id"], second["problem"]["column"]) == ("mine", "text")
        for name, content, said in (
            ("b.csv", "txt\ngood", "row 1 has no column 'text'; it has txt"),
            ("b.csv", 'text\n"good', "has a quote that is not closed"),
            ("b.csv", "text,b\ngood", "row 1 has 1 cells; the header has 2"),
            ("b.tsv", 'label\ttext\n"good', "has a quote that is not closed"),
            ("b.tsv", "label,text\nx,good", "row 1 has no column 'text'; it has label,text"),
            ("b.jsonl", '{"text": "a"}\n{', "line 2 is not valid JSON"),
            ("b.jsonl", "[1]", "line 1 is not an object with columns"),
            ("b.jsonl", "\n", "the file has no rows"),
        ):
            upload(page, name, content)
            page.wait_for_function("said => document.querySelector('.state').textContent.includes(said)", arg=said)
            assert page.locator(".downloads").is_hidden()


# Conversations


def with_stream(app: Any, pieces: list[bytes], asked: list[Any], wait: float = 0.0) -> Any:
    """An application whose conversations are streamed as these pieces of a response."""

    async def own(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/v1/chat/completions":
            await app(scope, receive, send)
            return
        asked.append(json.loads((await receive())["body"]))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(wait)
        await send({"type": "http.response.body", "body": b""})

    return own


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False).encode() + b"\n\n"


def say(page: "Page", text: str) -> None:
    page.fill(".say textarea", text)
    page.get_by_role("button", name="Send").click()


def test_a_reply_is_streamed(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    """Pieces of the response may end anywhere, even within a character."""
    sent = event("Hé") + event("llo ") + event("<b>😀</b>") + b"data: [DONE]\n\n" + event("late")
    asked: list[Any] = []
    with serving(cases("chats")[0]) as server:
        app = with_stream(server.app, [sent[i : i + 7] for i in range(0, len(sent), 7)], asked)
        with opened(chromium, app) as page:
            say(page, "Hi <i>you</i>")
            page.wait_for_selector(".say button:has-text('Send'):enabled")
            assert texts(page, ".turns .written") == ["Hi <i>you</i>", "Héllo <b>😀</b>"]
            page.click(".chat summary")
            page.fill("[name=system]", "Be brief.")
            page.fill("[name=temperature]", "0.5")
            say(page, "And?")
            page.wait_for_selector(".say button:has-text('Send'):enabled")
            assert len(texts(page, ".turns li")) == 4
    said = [{"role": "user", "content": "Hi <i>you</i>"}, {"role": "assistant", "content": "Héllo <b>😀</b>"}]
    system, last = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And?"}
    assert asked[0] == {"model": "model", "messages": said[:1], "stream": True}
    assert asked[1] == {"model": "model", "messages": [system, *said, last], "temperature": 0.5, "stream": True}


def test_a_reply_is_stopped(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    with serving(cases("chats")[0]) as server:
        app = with_stream(server.app, [event(f"{i} ") for i in range(1000)], [], wait=0.05)
        with opened(chromium, app) as page:
            say(page, "Count")
            page.wait_for_function("() => document.querySelectorAll('.turns .written')[1]?.textContent.startsWith('0 1')")
            page.get_by_role("button", name="Stop").first.click()
            page.wait_for_selector(".turns .hint")
            assert page.locator(".say .stop").is_hidden()
            page.get_by_role("button", name="New conversation").click()
            assert texts(page, ".turns li") == []


def test_a_conversation_with_the_model(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    """The reply is that of `predict`."""
    predictor, rows = cases("chats")
    expected = predictor(rows[:1])[0]["prediction"]
    with serving(predictor) as server, opened(chromium, server.app) as page:
        say(page, rows[0])
        page.wait_for_selector(".say button:has-text('Send'):enabled")
        assert page.locator(".turns .written").nth(1).evaluate("one => one.textContent") == expected


# Texts, tokens, screens


def hostile(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a predictor answer with markup."""
    found = [{"prediction": HOSTILE, "score": 0.5, "scores": {HOSTILE: 0.5, "good": 0.5}}]
    monkeypatch.setattr(predictor.model, "predict_batch", lambda batch: found * len(batch["input_ids"]))


def test_markup_is_text(chromium: "Browser", cases: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, _ = cases("sentiment")
    hostile(predictor, monkeypatch)
    monkeypatch.setattr(predictor.model, "label_names", [HOSTILE, "good"])
    with serving(predictor) as server, opened(chromium, server.app) as page:
        answer(page, {"text": HOSTILE})
        assert texts(page, ".answer .value") == [HOSTILE]
        assert HOSTILE in texts(page, ".lead")[0]
        upload(page, "<img src=x onerror='window.hit=1'>.jsonl", json.dumps({"text": HOSTILE}))
        page.wait_for_selector(".downloads:visible")
        assert page.evaluate("[window.hit, document.images.length, document.scripts.length]") == [None, 0, 1]


def test_the_token_is_asked_for_and_stays_in_the_tab(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    predictor, rows = cases("sentiment")
    with serving(predictor, State(token=TOKEN)) as server, listening(server.app) as address:
        tab = Tab(chromium, address)
        page = tab.open()
        assert "sentiment" not in page.content()
        page.fill("#token", "x" * 16)
        page.keyboard.press("Enter")
        page.wait_for_selector("#sign-in .problem:visible")
        assert texts(page, "#sign-in .problem") == ["This is not the token of the server."]
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#model-model")
        answer(page, {"text": rows[0]})
        page.reload()
        page.wait_for_selector("#model-model")
        kept = page.evaluate("[sessionStorage.length, localStorage.length, document.cookie, location.search]")
        assert kept == [1, 0, "", ""]
        page.get_by_role("button", name="Forget the token").click()
        page.wait_for_selector("#sign-in")
        assert page.evaluate("sessionStorage.length") == 0
        other = tab.context.new_page()
        other.goto(address)
        assert other.locator("#sign-in").is_visible()
        tab.check()
        tab.close()


TASKS_SHOWN = ("sentiment", "tags", "answers", "questions", "relations", "chats")


def all_models(cases: Callable[[str], Case]) -> Any:
    return serving({name: cases(name)[0] for name in TASKS_SHOWN})


def test_a_phone(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    long = "good" * 80
    with all_models(cases) as server, opened(chromium, server.app, viewport=PHONE, has_touch=True) as page:
        answer(page, {"text": long}, "sentiment")
        for name in TASKS_SHOWN:
            page.select_option("#model", name)
            width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] <= width[1] == PHONE["width"], name


def luminance(color: str) -> float:
    """The brightness of a colour from 0 to 1, as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(scheme: Any, chromium: "Browser", cases: Callable[[str], Case]) -> None:
    with serving(cases("sentiment")[0]) as server, opened(chromium, server.app, color_scheme=scheme) as page:
        answer(page, {"text": "good"})
        paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (luminance(paper) < 0.1) is (scheme == "dark")
        for selector in (".lead", ".answer .value", ".hint", "label", "summary"):
            ink = page.locator(selector).first.evaluate("one => getComputedStyle(one).color")
            low, high = sorted((luminance(ink), luminance(paper)))
            assert (high + 0.05) / (low + 0.05) > 4.5, selector


def test_the_keyboard_reaches_everything(chromium: "Browser", cases: Callable[[str], Case]) -> None:
    with all_models(cases) as server, opened(chromium, server.app) as page:
        reached = []
        for _ in range(9):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.tagName + (document.activeElement.type ?? '')"))
        assert reached[:4] == ["A", "SELECTselect-one", "TEXTAREAtextarea", "BUTTONsubmit"]
        page.focus("#model")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        unnamed = page.evaluate(
            "[...document.querySelectorAll('textarea, select, input')].filter(one => !one.labels?.length).length"
        )
        assert unnamed == 0
