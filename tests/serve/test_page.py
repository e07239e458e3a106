"""The page without a browser: its fields, headers and files, what it escapes, and who may see it."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from ftlit.serve.guard import State
from ftlit.serve.page.fields import fields
from ftlit.serve.page.files import static_files
from tests.support.served_tasks import TASKS, Case
from tests.support.serving import serving

TOKEN = "0123456789abcdef"
PAGE = {"accept": "text/html,application/xhtml+xml"}
KINDS = {  # of fields by task
    "sentiment": {"text": "text"},
    "emotions": {"text": "text"},
    "grades": {"text": "text", "other": "text"},
    "tags": {"tokens": "text"},
    "answers": {"question": "text", "context": "text"},
    "questions": {"question": "text", "choices": "choices"},
    "relations": {"text": "text", "head": "span", "tail": "span"},
    "reversals": {"source": "text"},
    "corpus": {"text": "text"},
    "chats": {"question": "text", "system": "text", "tools": "json"},
}


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_form(task: str, cases: Callable[[str], Case]) -> None:
    with serving(cases(task)[0]) as server:
        schema = server.models["model"].schema()
        page = server.ask("GET", "/").text
    found = fields(schema)
    assert {field.column: field.kind for field in found} == KINDS[task]
    assert [field.column for field in found if field.required] == schema["required"]
    assert [div["data-column"] for div in Elements(page).of("div") if "data-column" in div] == list(KINDS[task])
    assert ('class="chat card"' in page) is (task == "chats")


@pytest.mark.parametrize(
    ("of", "required", "kind"),
    [
        ({"type": "array", "items": {"type": "object"}}, True, "message"),
        ({"type": "array", "items": {"type": "object"}}, False, "json"),
        ({"type": "array", "items": {"type": "string"}}, True, "lines"),
        ({"type": "integer"}, True, "json"),
        ({}, True, "json"),
    ],
)
def test_columns_of_other_kinds_have_fields(of: dict[str, object], required: bool, kind: str) -> None:
    [field] = fields({"columns": {"c": of}, "required": ["c"] if required else []})
    assert (field.kind, field.required) == (kind, required)


def test_the_headers_keep_other_scripts_and_hosts_out(cases: Callable[[str], Case]) -> None:
    with serving(cases("sentiment")[0]) as server:
        found = server.ask("GET", "/")
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert (found.headers["x-content-type-options"], found.headers["cache-control"]) == ("nosniff", "no-store")
    elements = Elements(found.text)
    assert elements.of("style") == []
    assert [one["src"] for one in elements.of("script")] == ["/static/page.js"]
    assert [name for _, attributes in elements.found for name in attributes if name == "style" or name.startswith("on")] == []


def test_the_files_are_small_and_know_no_other_host() -> None:
    found = static_files()
    assert {"page.js", "page.css", "theme.css", "icon.svg"} <= found.keys()
    assert sum(len(file.content) for file in found.values()) < 60_000
    addresses = [url for file in found.values() for url in re.findall(rb"\w+://[^\"'\s)]+", file.content)]
    assert set(addresses) <= {b"http://www.w3.org/2000/svg"}
    code = b"".join(file.content for name, file in found.items() if name.endswith(".js"))
    assert not re.search(rb"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|localStorage|document\.cookie", code)


def test_files_are_kept_by_browsers_and_nothing_else_is_served(cases: Callable[[str], Case]) -> None:
    with serving(cases("sentiment")[0]) as server:
        first = server.ask("GET", "/static/page.js")
        assert (first.status_code, first.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        again = server.ask("GET", "/static/page.js", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("nothing.js", "..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "page.js%00", ""):
            assert server.ask("GET", f"/static/{name}").status_code == 404, name


def test_names_are_escaped(cases: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, _ = cases("sentiment")
    monkeypatch.setattr(predictor.model, "label_names", ["<script>a</script>", "\"'><img src=x onerror=b>"])
    monkeypatch.setattr(predictor.data, "text", '"><b onclick=c>')
    with serving(predictor) as server:
        elements = Elements(server.ask("GET", "/").text)
    assert len(elements.of("script")) == 1
    assert elements.of("img") == elements.of("b") == []


def test_models_that_take_the_same_rows_can_be_compared(cases: Callable[[str], Case]) -> None:
    with serving({name: cases(name)[0] for name in ("sentiment", "emotions", "answers")}) as server:
        page = server.ask("GET", "/").text
    first, second, third = page.split("<section class=")[1:]
    assert '<option value="">no other model</option><option>emotions</option></select>' in first
    assert "<option>sentiment</option></select>" in second
    assert "Side by side" not in third


def test_without_the_token_a_browser_sees_that_it_is_needed_and_nothing_else(cases: Callable[[str], Case]) -> None:
    with serving(cases("sentiment")[0], State(token=TOKEN)) as server:
        for path in ("/", "/schema", "/nowhere"):
            shown = server.ask("GET", path, headers=PAGE)
            assert (shown.status_code, shown.headers["www-authenticate"]) == (401, "Bearer")
            assert 'id="sign-in"' in shown.text
            assert "TextClassification" not in shown.text
        with_token = {**PAGE, "authorization": f"Bearer {TOKEN}"}
        assert "TextClassification" in server.ask("GET", "/", headers=with_token).text
        wrong = server.ask("GET", "/", headers={**PAGE, "authorization": "Bearer no"})
        assert (wrong.status_code, wrong.headers["content-type"]) == (401, "application/problem+json")
        assert server.ask("GET", "/").headers["content-type"] == "application/problem+json"
        assert server.ask("POST", "/predict", json="good", headers=PAGE).headers["content-type"] == "application/problem+json"
        assert server.ask("GET", "/static/page.js").status_code == 200
