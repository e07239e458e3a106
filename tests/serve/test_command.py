"""The command: what it refuses before it listens, and a server in a process of its own that ends without losing a request."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import ftlit
from ftlit.errors import UserError
from ftlit.serve import command
from ftlit.serve.command import TOKEN, named_folders
from tests.support.chats import chat_model, echoes
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows, write_splits
from tests.support.runs import fitted
from tests.support.server_process import Load, ask, counted, metrics, serve, served, wait_until

TEXTS = [row["text"] for row in sentiment_rows(12, 7)]


# Refused before anything listens


def test_other_machines_need_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("0.0.0.0", "::", "models.example"):
        said = refusal(serve("--run", tmp_path, "--host", host), capsys)
        assert f"--host {host} lets other machines in, which needs a token: set {TOKEN}" in said
    monkeypatch.setenv(TOKEN, "short")
    said = refusal(serve("--run", tmp_path), capsys)
    assert said == f"error: {TOKEN} has 5 characters; a token should have at least 16\n"


def test_folders_that_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no finished run" in refusal(serve("--run", tmp_path, "--port", 0), capsys)
    assert (
        refusal(serve(), capsys) == "error: serve needs a run: add --run runs/x; or --studio runs shows the runs in a folder\n"
    )
    assert "--studio 'nowhere' is no folder" in refusal(serve("--studio", "nowhere"), capsys)
    assert "there are two models 'a'" in refusal(serve("--run", "a=x", "--run=a=y"), capsys)


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal(serve("--run", tmp_path, "--port", port), capsys)
    assert f"--host 127.0.0.1 --port {port} cannot be used" in said
    assert "choose another with --port" in said
    assert "--port must be from 0 to 65535, got 99999" in refusal(serve("--run", tmp_path, "--port", 99999), capsys)


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(UserError, match=r"needs the packages uvicorn; install them with: pip install -e '.\[serve\]'"):
        command.serve([str(tmp_path)])


def test_models_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a=b").mkdir()
    (tmp_path / "x y").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_folders(["runs/x", "best=runs/y"]) == {"x": Path("runs/x"), "best": Path("runs/y")}
    for given, said in ((["a=b"], "'a=b' cannot be the name"), (["x y"], "'x y' cannot"), (["r/x", "q/x"], "two models 'x'")):
        with pytest.raises(UserError, match=said):
            named_folders(given)


# A process of its own


@pytest.mark.slow
def test_a_signal_under_load_loses_no_request(finished: Callable[[], Path]) -> None:
    expected = {text: row["prediction"] for text, row in zip(TEXTS, ftlit.load(finished())(TEXTS), strict=True)}
    with served("--run", finished(), "--reload") as (process, port), Load(port, expected) as load:
        time.sleep(1)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: 'result="taken"} 1' in metrics(port))
        time.sleep(1)
        before = sum(load.answered)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        said = process.stdout.read()  # type: ignore[union-attr]
    assert load.lost == []
    assert 8 < before < sum(load.answered)
    assert "was loaded again" in said


@pytest.mark.slow
def test_a_studio_without_models(finished: Callable[[], Path]) -> None:
    folder = finished()
    with served("--studio", folder.parent) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", f"/studio/run/{folder.name}")
        response = connection.getresponse()
        assert (response.status, b"TextClassification" in response.read()) == (200, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.slow
def test_clients_that_stop_halfway_are_let_go(finished: Callable[[], Path]) -> None:
    """Connections without a whole request are closed, a broken one leaves no trace, and the rest is answered."""
    with served("--run", finished(), "--timeout", 2) as (process, port):
        silent = socket.create_connection(("127.0.0.1", port), 20)
        halfway = socket.create_connection(("127.0.0.1", port), 20)
        halfway.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-")
        slow = socket.create_connection(("127.0.0.1", port), 20)
        slow.sendall(
            b'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"wo'
        )
        broken = socket.create_connection(("127.0.0.1", port), 20)
        broken.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert broken.recv(100).startswith(b"HTTP/1.1 400")
        assert ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), TEXTS[0])["prediction"] in ("good", "bad")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        for connection in (silent, halfway):
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0


# Texts that are written


def stream(port: int, tokens: int) -> http.client.HTTPResponse:
    """The response to a request for a reply of that many tokens, which comes as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"messages": [{"role": "user", "content": "Say a"}], "max_tokens": tokens, "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return response


def written(port: int) -> int:
    """The number of tokens that the server says it has written."""
    return counted(port, 'ftlit_tokens_total{model="chat",kind="written"}')


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chat")
    source = write_splits(root / "data", {"train": echoes(6, 0), "validation": echoes(3, 1)})
    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "max_position_embeddings": 4096}
    given = {"data": "ChatData", "model__backbone": chat_model(root / "llama", config=sizes), "model__samples": 0}
    columns = {"data__prompt": "question", "data__response": "answer", "data__template": "chatml"}
    return fitted(root / "chat", "CausalLM", data__dataset=source, trainer__max_steps=1, **given, **columns)


@pytest.mark.slow
def test_streams_come_as_they_are_written_and_end_with_the_client_or_before_the_server(chat_run: Path) -> None:
    with served("--run", chat_run) as (process, port):
        left = stream(port, 4000)
        assert left.readline().startswith(b'data: {"object":"chat.completion.chunk"')
        left.close()
        stream(port, 2).read()  # its turn comes once nobody wants the other text any more
        assert written(port) < 2000
        kept = stream(port, 300)
        began = time.monotonic()
        first = kept.readline()
        seen = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        rest = kept.read()
        whole = time.monotonic() - began
        assert process.wait(60) == 0
    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in rest
    assert seen < whole / 2
