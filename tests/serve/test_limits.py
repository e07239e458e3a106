"""What a server refuses, and that its errors are sentences that name the place; who may ask; what is counted and logged."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

import ftlit
from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.serve.guard import State
from ftlit.serve.settings import Limits
from tests.support.serving import Served, run, serving, untrained

JSON = {"content-type": "application/json"}
TEXT = "word1 good"


@pytest.fixture(scope="module")
def predictor(tiny: Callable[[str], str], sentiment: str) -> Predictor:
    return untrained("TextClassification", ftlit.TextClassificationData(dataset=sentiment, backbone=tiny("bert")))


@pytest.fixture
def server(predictor: Predictor) -> Iterator[Served]:
    with serving(predictor, max_rows=20, max_body=5000, max_characters=200, timeout=20) as found:
        yield found


class Slow:
    """A predictor whose batches wait until they are let go.

    Args:
        predictor: The predictor.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.go, self.begun, self.texts = predictor, threading.Event(), threading.Event(), list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.predictor, name)

    def predictions(self, rows: list[dict[str, Any]], *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        self.begun.set()
        assert self.go.wait(30)
        self.texts += [row["text"] for row in rows]
        return self.predictor.predictions(rows, *args, **kwargs)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of a response."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    found = response.json()
    assert {"type", "title", "status", "detail"} <= found.keys()
    assert found["status"] == status
    assert "Traceback" not in response.text
    return found


# Bodies


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b'{"text": "word1"', 400, "the body is not valid JSON: Expecting ',' delimiter"),
        (b"", 400, "the body is not valid JSON"),
        (b"\xff\xfe", 400, "the body is not valid JSON"),
        (b'{"text": NaN}', 400, "NaN is no number of JSON"),
        (b'{"text": ' + b"9" * 4500 + b"}", 400, "the body is not valid JSON"),
        (b"[" * 2400 + b"]" * 2400, 400, "its lists and objects are too deep"),
        (b'"' + b"a" * 6000 + b'"', 413, "the body has more than 5000 bytes"),
        (json.dumps(["a"] * 21).encode(), 413, "the request has 21 rows; this server takes 20 at once"),
        (b'{"rows": "word1"}', 422, "rows should be a list of rows"),
        (b'{"rows": [], "score": true}', 422, "beside rows there may be scores, got 'score'"),
        (b'{"rows": ["word1"], "scores": 1}', 422, "scores should be true or false"),
        (b"5", 422, "expected a text or an object, got 5 (int); this run needs the column 'text'"),
        (b"null", 422, "expected a text or an object, got "),
        (b'{"txt": "word1"}', 422, "there is no column 'text'"),
        (b'{"text": ["word1"]}', 422, "column 'text' holds ['word1'], not a text"),
        (b'{"text": " "}', 422, "the text in column 'text' is empty"),
        (b'{"text": "\\ud800"}', 422, "the text in column 'text' holds half a character"),
        (b'["", "\\n"]', 422, "none of the 2 rows was answered: the text in column 'text' is empty"),
        (json.dumps("word1 " * 50).encode(), 422, "the row has 301 characters; this server takes 200"),
    ],
    ids=lambda given: str(given)[:30],
)
def test_bodies_that_are_refused(server: Served, content: bytes, status: int, said: str) -> None:
    found = problem(server.ask("POST", "/predict", content=content, headers=JSON), status)
    assert said in found["detail"]
    assert server.predict(TEXT).status_code == 200


def test_a_wrong_row_does_not_fail_its_neighbours(server: Served, predictor: Predictor) -> None:
    rows = [TEXT, {"id": "x", "text": ""}, {"text": "bad word2", "id": 7}, "word1 " * 50]
    first, second, third, fourth = server.predict(rows).json()
    assert first == pytest.approx(predictor([TEXT])[0])
    assert third["id"] == 7
    assert second["id"] == "x"
    assert second["problem"] == {
        "title": "Unprocessable Entity",
        "status": 422,
        "column": "text",
        "detail": "the text in column 'text' is empty; this run needs the column 'text'",
    }
    assert fourth["problem"]["detail"].startswith("the row has 301 characters")
    found = problem(server.predict(["", " "]), 422)
    assert [(error["row"], error["column"]) for error in found["errors"]] == [(0, "text"), (1, "text")]


def test_no_rows_have_no_answers(server: Served) -> None:
    assert server.predict({"rows": []}).json() == {"predictions": []}
    assert server.predict([]).json() == []


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"content-type": "text/plain"}, 415, "expected content-type: application/json, got text/plain"),
        ({**JSON, "content-encoding": "gzip"}, 415, "the body is encoded as gzip"),
        ({**JSON, "host": "evil.example"}, 403, "this server answers requests to 127.0.0.1 and localhost alone"),
    ],
)
def test_headers_that_are_refused(server: Served, headers: dict[str, str], status: int, said: str) -> None:
    assert said in problem(server.ask("POST", "/predict", content=b'"word1"', headers=headers), status)["detail"]


def test_paths_and_methods_that_do_not_exist(server: Served) -> None:
    assert problem(server.ask("GET", "/nowhere"), 404)["detail"] == "GET /nowhere: Not Found"
    assert problem(server.ask("GET", "/predict"), 405)["detail"] == "GET /predict: Method Not Allowed"
    assert problem(server.predict(TEXT, "/predict?scores=1"), 422)["errors"] == [{"key": "scores"}]


def test_a_body_is_counted_as_it_comes_and_must_come_in_time(predictor: Predictor) -> None:
    async def parts(wait: float) -> AsyncIterator[bytes]:
        yield b'"'
        await asyncio.sleep(wait)
        for _ in range(10):
            yield b"a" * 600

    with serving(predictor, max_body=5000, timeout=0.1) as server:
        assert "5000 bytes" in problem(server.ask("POST", "/predict", content=parts(0), headers=JSON), 413)["detail"]
        assert "did not come" in problem(server.ask("POST", "/predict", content=parts(1), headers=JSON), 408)["detail"]


# Load


def test_requests_wait_in_turn_and_too_many_are_sent_away(predictor: Predictor) -> None:
    slow = Slow(predictor)

    async def load(server: Served) -> None:
        async with server.client() as client:
            held = asyncio.create_task(client.post("/predict", json=TEXT))
            await asyncio.to_thread(slow.begun.wait, 30)
            large = asyncio.create_task(client.post("/predict", json=[f"word{i} good" for i in range(8)]))
            await asyncio.sleep(0.05)
            small = asyncio.create_task(client.post("/predict", json="small bad"))
            await asyncio.sleep(0.05)
            assert server.counted('ftlit_waiting_rows{model="model"}') == 9
            refused = await client.post("/predict", json=["one", "two"])
            assert "9 rows are waiting for the model 'model', which may have 10" in problem(refused, 429)["detail"]
            assert int(refused.headers["retry-after"]) >= 1
            slow.go.set()
            assert [(await task).status_code for task in (held, large, small)] == [200, 200, 200]

    with serving(slow, max_waiting=10, max_rows=10, batch_rows=3) as server:  # type: ignore[arg-type]
        run(load(server))
    assert slow.texts.index("small bad") < 4  # after the first, and one or two of the large request


def test_a_request_that_takes_too_long_is_given_up(predictor: Predictor) -> None:
    slow = Slow(predictor)
    with serving(slow, timeout=0.2, batch_rows=1) as server:  # type: ignore[arg-type]
        found = server.predict([TEXT, "word2", "word3"])
        assert problem(found, 504)["detail"] == "the request was not answered within 0.2 s"
        assert server.counted('ftlit_waiting_rows{model="model"}') == 0  # those that had not begun never will
        slow.go.set()
        assert server.predict(TEXT).status_code == 200
    assert slow.texts == [TEXT, TEXT]


def test_a_row_on_which_the_model_fails_is_told_apart(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encode = predictor.data.encode_inputs

    def failing(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if "secret" in columns["text"]:
            raise RuntimeError("of a secret text")
        return encode(columns)

    monkeypatch.setattr(predictor.data, "encode_inputs", failing)
    with serving(predictor) as server, caplog.at_level(logging.INFO, "ftlit.serve"):
        first, second, third = server.predict([TEXT, "secret", "bad"]).json()
        assert second["problem"] == {
            "title": "Internal Server Error",
            "status": 500,
            "detail": "the model failed on this row",
        }
        assert {"prediction", "score"} <= first.keys() & third.keys()
        problem(server.predict("secret"), 500)
    assert "a row failed with RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_a_prediction_that_is_no_number_is_a_failure(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor.model, "predict_batch", lambda batch: [{"prediction": float("nan")}])
    with serving(predictor) as server:
        assert problem(server.predict(TEXT), 500)["detail"] == "the model gave a number that is NaN or infinite"


def test_a_fault_of_the_server_is_one_sentence(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.metrics, "text", lambda: 1 / 0)
    assert problem(server.ask("GET", "/metrics"), 500)["detail"] == "the server failed on this request"


# Who may ask, and what is known of it


def test_a_token_is_needed_once_there_is_one(predictor: Predictor) -> None:
    token = "0123456789abcdef"
    with serving(predictor, State(token=token)) as server:
        for given in ({}, {"authorization": f"Bearer {token}x"}, {"authorization": f"Basic {token}"}, {"authorization": token}):
            refused = server.ask("POST", "/predict", json=TEXT, headers=given)
            problem(refused, 401)
            assert refused.headers["www-authenticate"] == "Bearer"
        allowed = {"authorization": f"bearer {token}", "host": "models.example"}
        assert server.ask("POST", "/predict", json=TEXT, headers=allowed).status_code == 200
        assert server.ask("GET", "/metrics").status_code == 401
        assert [server.ask("GET", path).status_code for path in ("/health", "/ready")] == [200, 200]


def test_a_server_that_ends_says_so(predictor: Predictor) -> None:
    state = State()
    with serving(predictor, state) as server:
        assert server.ask("GET", "/ready").json() == {"status": "ready"}
        state.draining = True
        assert "about to end" in problem(server.ask("GET", "/ready"), 503)["detail"]
        answered = server.predict(TEXT)
        assert (answered.status_code, answered.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("log_texts", [False, True])
def test_the_log_has_texts_on_request_only(predictor: Predictor, log_texts: bool, caplog: pytest.LogCaptureFixture) -> None:
    with serving(predictor, State(log_texts=log_texts)) as server, caplog.at_level(logging.INFO, "ftlit.serve"):
        server.predict(["quietword"])
        server.predict([""])
        server.ask("POST", "/predict?text=quietword", content=b'{"quietword', headers=JSON)
    lines = [record.message for record in caplog.records]
    assert [line.split(" ms")[0].rsplit(" ", 1)[0] for line in lines] == [
        "POST predict 200 model=model rows=1",
        "POST predict 422 model=model rows=1",
        "POST predict 400",
    ]
    assert ("quietword" in caplog.text) is log_texts


def test_requests_are_counted(server: Served) -> None:
    server.predict([TEXT, ""])
    server.predict(5)
    server.ask("GET", "/nowhere")
    text = server.ask("GET", "/metrics").text
    assert 'ftlit_requests_total{endpoint="predict",status="200"} 1\n' in text
    assert 'ftlit_requests_total{endpoint="predict",status="422"} 1\n' in text
    assert 'ftlit_requests_total{endpoint="other",status="404"} 1\n' in text
    assert 'ftlit_rows_total{model="model",result="answered"} 1\n' in text
    assert 'ftlit_rows_total{model="model",result="failed"} 2\n' in text
    assert 'ftlit_request_seconds_bucket{endpoint="predict",le="+Inf"} 2\n' in text
    assert 'ftlit_request_seconds_count{endpoint="predict"} 2\n' in text
    assert all(float(line.rsplit(" ", 1)[1]) >= 0 for line in text.splitlines() if line[0] != "#")


def test_a_row_waits_for_others_if_it_should(predictor: Predictor) -> None:
    async def two(server: Served) -> None:
        async with server.client() as client:
            first = asyncio.create_task(client.post("/predict", json=TEXT))
            await asyncio.sleep(0.1)
            await asyncio.gather(first, client.post("/predict", json="bad"))

    with serving(predictor, wait_ms=2000, batch_rows=2) as server:
        began = time.monotonic()
        run(two(server))
        assert time.monotonic() - began < 1.5  # the batch was full
        assert server.counted('ftlit_batch_rows_count{model="model"}') == 1


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_rows": 0}, "--max_rows must be above 0, got 0"),
        ({"timeout": float("nan")}, "--timeout must be above 0, got nan"),
        ({"wait_ms": 30000}, "--wait_ms must be at least 0 and below --timeout"),
        ({"max_rows": 5000}, "--max_waiting is 4000 rows, but one request may have --max_rows 5000"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Limits(**limits).check()
