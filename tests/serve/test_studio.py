"""The studio: what it finds, shows and escapes, that it stays in its folder and writes nothing, and how it lists examples."""

import html
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ftlit.serve.guard import State
from ftlit.serve.studio.curves import MOST, charts, thinned
from ftlit.serve.studio.examples import Examples, Wanted
from ftlit.serve.studio.runs import StudioRun
from tests.serve.test_page import PAGE, TOKEN, Elements
from tests.support.run_folders import CONFIG, accuracy, answers, write_run
from tests.support.serving import Served, run, serving

HOSTILE = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two runs, of which one is below another folder, and a file beside it that nobody should see."""
    (tmp_path / "secret.yaml").write_text("hidden: treasure")
    write_run(tmp_path / "runs" / "first", answers(0, 0.8), started="2026-01-01T10:00:00Z", monitor="val/accuracy", seed=3)
    write_run(tmp_path / "runs" / "deep" / "second", answers(1, 0.5), started="2026-01-02T10:00:00Z")
    return tmp_path / "runs"


@pytest.fixture
def studio(root: Path) -> Iterator[Served]:
    with serving({}, studio=root) as found:
        yield found


def shown(response: httpx.Response) -> str:
    """The text of a page without its elements."""
    assert response.status_code == 200, response.text
    return html.unescape(" ".join(response.text.split()))


def refused(response: httpx.Response, status: int = 404) -> str:
    assert response.status_code == status, response.text[:500]
    return str(response.json()["detail"])


def files_below(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


# Lists


def test_the_list_has_all_runs_newest_first(studio: Served, root: Path) -> None:
    before = files_below(root)
    assert studio.ask("GET", "/").headers["location"] == studio.ask("GET", "/studio").headers["location"] == "/studio/"
    page = studio.ask("GET", "/studio/")
    links = [one["href"] for one in Elements(page.text).of("a") if "/run/" in str(one["href"])]
    assert links == ["/studio/run/deep/second", "/studio/run/first"]
    assert f"accuracy {accuracy(answers(0, 0.8)):.4f} (test)" in shown(page)
    assert "/studio/run/first" not in studio.ask("GET", "/studio/?q=second").text
    assert "Nothing is found here." in shown(studio.ask("GET", "/studio/?q=nothing+such"))
    for path in ("run/first", "examples/first", "curves/first"):
        assert studio.ask("GET", f"/studio/{path}").status_code == 200
    assert files_below(root) == before


def test_a_long_list_has_pages(tmp_path: Path) -> None:
    for i in range(120):
        folder = tmp_path / f"run{i:03}"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"status": "completed", "versions": {}, "started": f"2026-01-01T{i:06}"}))
    with serving({}, studio=tmp_path) as server:
        first, second = (server.ask("GET", f"/studio/?q=run&page={n}").text for n in ("1", "2"))
        beyond = server.ask("GET", "/studio/?page=999999999999999").text
    assert ("run/run119" in first, "run/run000" in first, "run/run000" in second) == (True, False, True)
    assert 'href="?q=run&amp;page=2" rel="next"' in first
    assert "1 of 2" in beyond


# Runs


def test_a_run_shows_its_metrics_intervals_and_config(tmp_path: Path) -> None:
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], "logger": {"api_key": "verysecretvalue"}}, "other": "../secret.yaml"}
    results = {
        "before": {"test": {"accuracy": 0.5}},
        "test": {"accuracy": 0.84, "loss": float("nan")},
        "intervals": {"test": {"accuracy": [0.7, 0.9]}},
        "baseline": {"test": {"accuracy": 0.6}},
    }
    (tmp_path / "secret.yaml").write_text("hidden: treasure")
    write_run(tmp_path / "runs" / "x", answers(0, 0.8), config, results, error="it failed <b>")
    with serving({}, studio=tmp_path / "runs") as server:
        page = server.ask("GET", "/studio/run/x")
    rows = ["".join(part.split(">")[-1] for part in row.split("<")) for row in page.text.split("<tr>")]
    assert "accuracy0.50000.8400[0.7000, 0.9000]0.6000" in [row.strip() for row in rows]
    assert "it failed <b>" in shown(page)
    assert Elements(page.text).of("b") == []
    assert "verysecretvalue" not in page.text
    assert "class_path: ftlit.TextClassification" in shown(page)
    assert "treasure" not in page.text


def test_curves_follow_the_file(root: Path) -> None:
    rows = [f"{step},0,{1 / step},,{'nan' if step == 3 else 0.1}" for step in range(1, 5)]
    text = "\n".join(["step,epoch,train/loss,val/accuracy,train/lr", *rows, "4,0,,0.5,", "8,1,,0.75,", "8,1,,,inf"])
    (root / "first" / "metrics.csv").write_text(text + "\n")
    loss, lr, accuracy = found = charts(StudioRun(root / "first", "first"))
    assert [chart.name for chart in found] == ["loss", "lr", "accuracy"]
    assert (loss.lines[0].points.split()[0], loss.lines[0].last) == ("46.0,8.0", "0.25")
    assert len(lr.lines[0].points.split()) == 3
    assert [text for text, _ in accuracy.ticks] == ["0.5", "0.75"]
    with serving({}, studio=root) as server:
        page = server.ask("GET", "/studio/curves/first").text
        assert next(one["points"] for one in Elements(page).of("polyline")) == loss.lines[0].points
        assert "data-live" not in page
        (root / "first" / "metrics.csv").write_text("step\n1\n2,3\n")
        assert "line 3 has another number of columns" in shown(server.ask("GET", "/studio/curves/first"))


def test_a_run_that_runs_is_followed_and_a_silent_one_is_doubted(root: Path) -> None:
    record = json.loads((root / "first" / "run.json").read_text())
    (root / "first" / "run.json").write_text(json.dumps({**record, "status": "running"}))
    (root / "first" / "progress.json").write_text('{"step": 3, "steps": 9, "started": 0}')
    with serving({}, studio=root) as server:
        page = server.ask("GET", "/studio/run/first")
        assert "running, step 3 of 9" in shown(page)
        assert "data-live" in page.text
        for name in ("run.json", "progress.json"):
            os.utime(root / "first" / name, (time.time() - 600,) * 2)
        page = server.ask("GET", "/studio/run/first")
        assert "running, but silent for 10 minutes" in shown(page)
        assert "data-live" not in page.text


def test_many_points_keep_their_peaks() -> None:
    points = [(float(step), 0.0) for step in range(10_000)]
    points[5003], points[7001] = (5003.0, 9.0), (7001.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= MOST + 1
    assert {(5003.0, 9.0), (7001.0, -9.0), points[0], points[-1]} <= {*kept}
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"labels": ["a", "b"], "confusion": [[3, 1], [0, 4]]}, "only=all&label=a&prediction=b"),
        ({"labels": ["a", "b"], "confusion": [[[1, 2], [3, 4]], [[0, 0], [0, 9]]]}, ">a</th><td>4</td><td>2</td><td>3</td>"),
        ({"labels": list("ab") * 200, "confusion": {"true": [0, 1], "predicted": [1, 1], "count": [7, 9]}}, ">7</a>"),
        ({"labels": [f"l{i}" for i in range(30)], "confusion": [[i + j for j in range(30)] for i in range(30)]}, ">57</a>"),
        ({"labels": ["a"], "confusion": [[1, 2], [3, 4]]}, "its confusion matrix has another form than ftlit writes"),
        ({"labels": ["a", HOSTILE], "confusion": [[1, 2], [3, 4]]}, "only=all&label=a&prediction=%3Cscript"),
    ],
)  # fmt: skip
def test_confusions_of_labels(report: dict[str, Any], said: str, root: Path, studio: Served) -> None:
    (root / "first" / "test_report.json").write_text(json.dumps(report))
    page = studio.ask("GET", "/studio/run/first")
    assert said in page.text.replace("&amp;", "&")
    assert len(Elements(page.text).of("script")) == 1


# Examples


def test_wrong_examples_come_first_and_can_be_filtered(studio: Served, root: Path) -> None:
    rows = answers(0, 0.8)
    wrong = [row["id"] for row in rows if row["label"] != row["prediction"]]
    page = studio.ask("GET", "/studio/examples/first")
    assert f"{len(wrong)} of 50 examples" in shown(page)
    assert all(name in page.text for name in wrong)
    assert f"{50 - len(wrong)} of 50" in shown(studio.ask("GET", "/studio/examples/first?only=right"))
    assert "50 of 50" in shown(studio.ask("GET", "/studio/examples/first?only=all"))
    bad = sum(row["prediction"] == "bad" for row in rows)
    assert f"{bad} of 50" in shown(studio.ask("GET", "/studio/examples/first?only=all&prediction=bad&label=good"))
    assert "no predictions of train" in refused(studio.ask("GET", "/studio/examples/first?split=train"))


def written(path: Path, rows: list[dict[str, Any]], kind: str | None) -> Examples:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return Examples(path, kind)


def test_examples_are_sorted_and_searched(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "Élan  vital", "label": "x", "prediction": "x", "score": 0.9},
        {"id": "b", "text": "line\nbreak", "label": "x", "prediction": "y", "score": 0.4},
        {"id": "c", "text": "nothing", "label": "y", "prediction": "x"},
    ]
    found = written(tmp_path / "a.jsonl", rows, "labels")
    names = lambda **wanted: [found.example(i).id for i in found.find(Wanted(**wanted))]  # noqa: E731
    assert names(sort="unsure") == ["b", "a", "c"]
    assert names(sort="sure") == ["a", "b", "c"]
    assert names(words="ÉLAN vit") == ["a"]
    assert names(words="break") == ["b"]
    assert names(only="wrong", label="y") == ["c"]
    assert names(sort="nonsense") == ["a", "b", "c"]
    assert list(found.sorts()) == ["row", "unsure", "sure"]
    assert found.example(1).inputs == {"text": "line\nbreak"}


def test_numbers_are_sorted_by_their_error_and_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": "t", "label": 1.0, "prediction": 1.0 + i % 3} for i in range(6)]
    found = written(tmp_path / "a.jsonl", rows, "values")
    assert [found.example(i).id for i in found.find(Wanted(only="wrong", sort="far"))] == ["2", "5", "1", "4", "0", "3"]
    assert (found.judged, found.example(0).right, list(found.sorts())) == (False, None, ["row", "far"])


def test_answers_of_other_forms_are_texts(tmp_path: Path) -> None:
    entity = {"label": "PER", "start": 0, "end": 2, "text": "be"}
    rows = [
        {"id": "0", "tokens": ["be", "it"], "label": [entity], "prediction": []},
        {"id": "1", "question": "q", "label": ["a", "b"], "prediction": {"odd": 1}},
        {"id": "2", "label": ["x" * 50, "y"], "prediction": 1.23456},
    ]
    found = written(tmp_path / "a.jsonl", rows, None)
    assert [(found.example(i).label, found.example(i).prediction) for i in range(3)] == [
        ("be (PER)", "–"),
        ("a, b", '{"odd": 1}'),
        (f"{'x' * 50}\ny", "1.235"),
    ]


def test_a_hundred_thousand_examples_are_quick(root: Path, studio: Served) -> None:
    row = {"text": "some words of an example that is as long as a sentence", "scores": {"good": 0.5, "bad": 0.5}}
    lines = (
        json.dumps({"id": f"test:{i}", **row, "label": "good", "prediction": "bad", "score": i % 7 / 7}) for i in range(100_000)
    )
    (root / "first" / "predictions" / "test.jsonl").write_text("\n".join(lines) + "\n")
    began = time.monotonic()
    assert "100,000 of 100,000" in shown(studio.ask("GET", "/studio/examples/first"))
    read = time.monotonic() - began
    began = time.monotonic()
    page = studio.ask("GET", "/studio/examples/first?only=wrong&q=sentence+bad&sort=unsure&page=4000")
    again = time.monotonic() - began
    assert len(Elements(page.text).of("article")) == 25
    assert read < 20
    assert again < read / 3


def test_predictions_that_changed_are_read_again(root: Path, studio: Served) -> None:
    path = root / "first" / "predictions" / "test.jsonl"
    assert "of 50 examples" in shown(studio.ask("GET", "/studio/examples/first"))
    path.write_text(json.dumps({"id": "new", "label": "a", "prediction": "b"}) + "\n")
    assert "1 of 1 examples" in shown(studio.ask("GET", "/studio/examples/first"))
    path.write_text('{"id": 1}\n[]\n')
    assert "line 1 is not a prediction" in refused(studio.ask("GET", "/studio/examples/first"), 422)


# Studies


def make_study(root: Path) -> Path:
    folder = root / "study"
    write_run(folder / "cells" / "a-0", answers(0, 0.8))
    write_run(folder / "cells" / "a-1", answers(1, 0.8), status="failed")
    for name in ("configs", "failed", "report"):
        (folder / name).mkdir()
    for name in ("a-0", "a-1", "b-0"):
        (folder / "configs" / f"{name}.yaml").write_text("seed_everything: 0")
    (folder / "failed" / "a-1.json").write_text(json.dumps({"error": f"out of memory {HOSTILE}"}))
    (folder / "study.json").write_text(json.dumps({"name": "my <i>study</i>"}))
    (folder / "study.yaml").write_text(yaml.safe_dump({"name": "x", "api_key": "verysecretvalue"}))
    (folder / "report" / "report.html").write_text(f"<style>p {{ color: red }}</style><p>The report{HOSTILE}")
    return folder


def test_a_study_shows_its_state_and_its_report(root: Path, studio: Served) -> None:
    make_study(root)
    assert "/studio/study/study" in studio.ask("GET", "/studio/").text
    page = studio.ask("GET", "/studio/study/study")
    assert "study: 1 done, 1 failed, 1 pending of 3 cells" in shown(page)
    assert f"a-1 failed: out of memory {HOSTILE}" in shown(page)
    assert "verysecretvalue" not in page.text
    elements = Elements(page.text)
    assert (elements.of("i"), len(elements.of("script"))) == ([], 1)
    assert [one["href"] for one in elements.of("a") if "/run/" in str(one["href"])] == [
        "/studio/run/study/cells/a-0",
        "/studio/run/study/cells/a-1",
    ]
    assert elements.of("iframe")[0].keys() == {"title", "sandbox", "data-report"}
    report = studio.ask("GET", "/studio/report/study")
    assert report.text == (root / "study" / "report" / "report.html").read_text()
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'; ")
    assert "script-src" not in policy
    (root / "study" / "report" / "report.html").unlink()
    assert "has no report yet" in refused(studio.ask("GET", "/studio/report/study"))
    assert "It has no report yet." in shown(studio.ask("GET", "/studio/study/study"))
    refused(studio.ask("GET", "/studio/study/first"))


# Staying inside


ELSEWHERE = (
    *(
        "..",
        "../runs/first",
        "first/..",
        "first/../first",
        "/first",
        "first/",
        "",
        ".",
        "first//",
        "first\0",
        "\\first",
        "/etc",
    ),
    *("first/predictions", "nowhere", "a" * 5000, "link", "out/x", "\udcff", "first/./", "%2e%2e", "~", "..;/first"),
)


async def sent(app: Any, path: str) -> tuple[int, bytes]:
    """The status and the body of the response to a path, which clients would change before they send it."""
    found: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        found.append(message)

    await app(scope, receive, send)
    return found[0]["status"], b"".join(message.get("body", b"") for message in found)


def test_no_path_leads_elsewhere(studio: Served, root: Path) -> None:
    (root / "link").symlink_to(root / "first")
    write_run(root.parent / "outside" / "x", answers(0, 0.5))
    (root / "out").symlink_to(root.parent / "outside")
    for page in ("run", "examples", "curves", "study", "report"):
        for path in ELSEWHERE:
            status, body = run(sent(studio.app, f"/studio/{page}/{path}"))
            assert status == 404, (page, path, body[:300])
            assert b"treasure" not in body


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "results.json", "metrics.csv", "progress.json"])
def test_a_run_with_a_link_in_the_place_of_a_file_is_refused(name: str, studio: Served, root: Path) -> None:
    (root / "first" / name).unlink(missing_ok=True)
    (root / "first" / name).symlink_to(root.parent / "secret.yaml")
    for page in ("run", "curves", "examples"):
        response = studio.ask("GET", f"/studio/{page}/first")
        assert response.status_code in (403, 404)
        assert "treasure" not in response.text
    assert "/studio/run/first" not in studio.ask("GET", "/studio/").text


def test_links_and_pipes_in_folders_are_not_followed(root: Path, studio: Served) -> None:
    study = make_study(root)
    secret = root.parent / "secret.yaml"
    for path in (study / "report" / "report.html", study / "study.yaml", root / "first" / "predictions" / "test.jsonl"):
        path.unlink()
        path.symlink_to(secret)
    (root / "first" / "test_report.json").symlink_to(secret)
    (root / "deep" / "second" / "predictions").rename(root.parent / "predictions")
    (root / "deep" / "second" / "predictions").symlink_to(root.parent / "predictions")
    (study / "failed" / "b-0.json").symlink_to(secret)
    (study / "cells" / "c-0").symlink_to(root / "first")
    os.mkfifo(root / "first" / "progress.json")
    for path in ("study/study", "report/study", "run/first", "examples/first", "examples/deep/second", ""):
        assert "treasure" not in studio.ask("GET", f"/studio/{path}").text
    assert "c-0" not in studio.ask("GET", "/studio/study/study").text
    refused(studio.ask("GET", "/studio/report/study"))
    refused(studio.ask("GET", "/studio/examples/deep/second"))
    refused(studio.ask("GET", "/studio/run/first"), 403)


def test_a_loop_of_folders_and_odd_names_are_no_trouble(root: Path, studio: Served) -> None:
    (root / "loop").symlink_to(root)
    odd = "a \"'><b>&?#%2e é"
    write_run(root / odd, answers(0, 0.5))
    os.mkdir(os.fsencode(root) + b"/\xff\xfe")
    page = studio.ask("GET", "/studio/")
    [address] = [str(one["href"]) for one in Elements(page.text).of("a") if "%C3%A9" in str(one["href"])]
    assert Elements(page.text).of("b") == []
    assert odd in shown(studio.ask("GET", address))


def test_a_config_that_unfolds_without_end_is_not_shown(root: Path, studio: Served) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (root / "first" / "config.yaml").write_text("\n".join(lines))
    began = time.monotonic()
    assert "config.yaml is too large to be shown" in shown(studio.ask("GET", "/studio/run/first"))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"status": 1}', "\0"])
def test_damaged_files_are_said_and_hide_nothing_else(content: str, root: Path, studio: Served) -> None:
    for name in ("results.json", "config.yaml", "metrics.csv"):
        (root / "first" / name).write_text(content)
    (root / "deep" / "second" / "run.json").write_text(content)
    assert "results.json" in shown(studio.ask("GET", "/studio/run/first"))
    assert studio.ask("GET", "/studio/run/deep/second").status_code == 200
    assert "/studio/run/first" in studio.ask("GET", "/studio/").text


def test_the_studio_needs_the_token_and_reads_only(root: Path) -> None:
    with serving({}, State(token=TOKEN), studio=root) as server:
        for path in ("", "run/first", "examples/first", "report/first"):
            assert server.ask("GET", f"/studio/{path}").status_code == 401
            assert 'id="sign-in"' in server.ask("GET", f"/studio/{path}", headers=PAGE).text
        known = {"authorization": f"Bearer {TOKEN}"}
        assert server.ask("GET", "/studio/run/first", headers=known).status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert server.ask(method, "/studio/run/first", headers=known).status_code == 405
        found = server.ask("GET", "/studio/run/first", headers=known).headers
        assert "script-src 'self'" in found["content-security-policy"]
        assert "unsafe-inline" not in found["content-security-policy"]


def test_a_server_without_models_says_so(studio: Served) -> None:
    assert "this server has no models" in refused(studio.predict("good"))
    assert studio.ask("GET", "/openapi.json").status_code == 200
    assert studio.ask("GET", "/models").json() == {"models": []}


def test_models_and_studio_know_each_other(cases: Callable[[str], Any], root: Path) -> None:
    with serving(cases("sentiment")[0], studio=root) as server:
        assert '<a href="/studio/">Studio</a>' in server.ask("GET", "/").text
        assert '<a href="/">Models</a>' in server.ask("GET", "/studio/").text
        assert server.predict("good").status_code == 200
