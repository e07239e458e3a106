"""Several workers: weights in memory once, counters of all, signals, newer runs, and workers that die."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

import ftlit
from ftlit.errors import UserError
from ftlit.serve.guard import State
from ftlit.serve.metrics import Metrics
from ftlit.serve.workers.board import Board
from ftlit.serve.workers.memory import reserve
from ftlit.serve.workers.supervisor import check_workers
from ftlit.serve.workers.weights import share_weights
from tests.support.command_line import ftlit as run_ftlit
from tests.support.data import sentiment_rows
from tests.support.models import tiny_model
from tests.support.runs import fitted
from tests.support.served_tasks import Case
from tests.support.server_process import Load, counted, get, serve, served, wait_until
from tests.support.serving import serving

TEXTS = [row["text"] for row in sentiment_rows(12, 7)]


# Weights


class Memory:
    """Memory for weights by their hashes."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, digest: str) -> int:
        return os.dup(self.known.setdefault(digest, reserve("ftlit-weights")))


def memory_of(tensor: torch.Tensor) -> str:
    """The name of the mapped file in which the values of a tensor are."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            return line.partition("memfd:")[2]
    return ""


class Tied(nn.Module):
    """A model with weights of several types, of which two are the same, and one that is not contiguous."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.brief = nn.Embedding(100, 40), nn.Linear(40, 77, dtype=torch.bfloat16)
        self.out = nn.Linear(40, 100)
        self.out.weight = self.table.weight
        self.register_buffer("turned", torch.rand(60, 50).T)
        self.register_buffer("counts", torch.arange(1000))

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        found = self.table(ids)
        return [self.out(found), self.brief(found.bfloat16()), self.turned * 2, self.counts + 1]


def test_models_with_the_same_weights_have_them_in_memory_once() -> None:
    memory, ids = Memory(), torch.arange(9)
    first, second, other = Tied(0), Tied(0), Tied(1)
    expected = [model(ids) for model in (first, second, other)]
    shared = [share_weights(model, memory) for model in (first, second, other)]
    assert shared == [100 * 40 * 4 + 77 * 40 * 2 + 1000 * 8] * 3
    assert len(memory.known) == 2
    for model, outputs in zip((first, second, other), expected, strict=True):
        assert all(map(torch.equal, model(ids), outputs))
        assert model.out.weight is model.table.weight
        assert model.table.weight.data_ptr() % 64 == 0
        assert memory_of(model.table.weight) == memory_of(model.brief.weight) == "ftlit-weights (deleted)"
        assert memory_of(model.turned) == memory_of(model.brief.bias) == ""
    with torch.no_grad():
        first.table.weight.zero_()
    assert torch.equal(second(ids)[0], expected[1][0])


def test_weights_that_another_worker_has_not_finished_are_written_again() -> None:
    memory, model = Memory(), Tied(0)
    share_weights(Tied(0), memory)
    [digest] = memory.known
    broken = memory.known[digest] = reserve("ftlit-weights", 5)
    expected = model(torch.arange(9))
    share_weights(model, memory)
    assert all(map(torch.equal, model(torch.arange(9)), expected))
    with pytest.raises(PermissionError):
        os.pwrite(broken, b"x", 0)


@pytest.mark.parametrize("task", ["sentiment", "reversals", "chats"])
def test_predictions_with_shared_weights_are_the_same(task: str, cases: Callable[[str], Case]) -> None:
    predictor, rows = cases(task)
    expected = predictor(rows, scores=True)
    assert share_weights(predictor.model, Memory()) > 0
    assert predictor(rows, scores=True) == expected


# Counters


def test_counters_are_those_of_all_workers_and_outlive_them() -> None:
    board = Board.reserve(2, 1)
    first, second, alone = board.metrics(0), board.metrics(1), Metrics()
    for one, other in ((first, second), (alone, alone)):
        one.request("predict", 200, 0.02)
        other.request("predict", 200, 99)
        other.request("predict", 422, 0.0001)
        other.rows("a-b.c", 3, 1)
        other.waiting["a-b.c"] = lambda: 7
        other.publish()
    assert first.text() == second.text() == alone.text()
    later = board.metrics(1)  # of the process that follows the second one
    later.request("predict", 422, 0.1)
    assert 'ftlit_requests_total{endpoint="predict",status="422"} 2\n' in first.text()
    assert 'ftlit_request_seconds_bucket{endpoint="predict",le="0.001"} 1\n' in first.text()
    assert 'ftlit_request_seconds_bucket{endpoint="predict",le="+Inf"} 4\n' in first.text()


def test_a_server_is_ready_when_all_workers_are(cases: Callable[[str], Case]) -> None:
    board, state = Board.reserve(2, 1), State()
    state.all_ready = board.all_ready
    board.note(0, ready=True, connections=5)
    with serving(cases("sentiment")[0], state) as server:
        refused = server.ask("GET", "/ready")
        assert (refused.status_code, refused.json()["detail"]) == (503, "a worker is being started")
        assert server.ask("GET", "/health").status_code == 200
        assert board.fewest() == 5
        board.note(1, ready=True, connections=2)
        assert server.ask("GET", "/ready").status_code == 200
    assert board.fewest() == 2


@pytest.mark.parametrize(
    ("count", "device", "said"),
    [
        (0, None, "--workers must be at least 1, got 0"),
        (2, "cuda", "--workers 2: on a GPU each worker would have a copy of the models of its own"),
    ],
)
def test_workers_that_are_refused(count: int, device: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_workers(count, device)


# Processes of their own


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of a server, by their ages."""
    children = psutil.Process(process.pid).children()
    return sorted((child for child in children if "spawn_main" in " ".join(child.cmdline())), key=psutil.Process.create_time)


def predictions(run: Path) -> dict[str, object]:
    """The predictions of a run by their texts."""
    return {text: row["prediction"] for text, row in zip(TEXTS, ftlit.load(run)(TEXTS), strict=True)}


@pytest.fixture
def own_run(finished: Callable[[], Path], tmp_path: Path) -> Path:
    """A finished run in a folder that a test may change."""
    return Path(shutil.copytree(finished(), tmp_path / "run"))


@pytest.mark.slow
def test_signals_under_load_lose_no_request_of_any_worker(own_run: Path) -> None:
    """Both workers answer, take the newer run, and answer what they accepted before they end."""
    with served("--run", own_run, "--reload", "--workers", 2) as (process, port), Load(port, predictions(own_run)) as load:
        wait_until(lambda: sum(load.answered) > 50)
        assert get(port, "/ready")[0] == 200
        shared = [sum(connection.status == "ESTABLISHED" for connection in one.net_connections()) for one in workers(process)]
        (own_run / "run.json").touch()
        wait_until(lambda: counted(port, 'ftlit_reloads_total{model="run",result="taken"}') == 2)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: counted(port, 'ftlit_reloads_total{model="run",result="taken"}') == 4)
        before = sum(load.answered)
        assert before <= counted(port, 'ftlit_requests_total{endpoint="predict",status="200"}')
        os.killpg(process.pid, signal.SIGTERM)  # as managers of services may send it to all processes
        assert process.wait(60) == 0
        said = process.stdout.read()  # type: ignore[union-attr]
    assert load.lost == []
    assert before < sum(load.answered)
    assert min(shared) >= 3
    assert said.count("was loaded again") == 4
    assert "Traceback" not in said


def pss(process: psutil.Process, mapping: str = "") -> int:
    """Proportional memory of a process in bytes, in which what two share counts half for each, or that of a mapped file."""
    folder = Path(f"/proc/{process.pid}")
    if not mapping:
        return 1024 * int(re.findall(r"^Pss: +(\d+) kB$", (folder / "smaps_rollup").read_text(), re.MULTILINE)[0])
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (folder / "smaps").read_text(), flags=re.MULTILINE)
    own = "".join(part for part in parts if mapping in part.partition("\n")[0])
    return 1024 * sum(map(int, re.findall(r"^Pss: +(\d+) kB$", own, re.MULTILINE)))


@pytest.mark.slow
def test_weights_are_in_memory_once(sentiment: str, tmp_path: Path) -> None:
    """Those of the base model and of LoRA beside it: workers do not have them twice."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 8}
    backbone = tiny_model(tmp_path / "large", **sizes)
    weights = (tmp_path / "large" / "model.safetensors").stat().st_size
    given = {"data__dataset": sentiment, "model__backbone": backbone, "model__tuning": "LoRA", "trainer__max_steps": 1}
    run = fitted(tmp_path / "run", "TextClassification", **given)
    assert weights > 300e6
    expected = predictions(run)
    (tmp_path / "large").rename(tmp_path / "open")  # in this process, so that the system would count its weights for half
    shutil.copytree(tmp_path / "open", tmp_path / "large")
    with served("--run", run) as (process, port), Load(port, expected, 4) as load:
        wait_until(lambda: sum(load.answered) > 20)
        alone = pss(psutil.Process(process.pid))
        process.send_signal(signal.SIGTERM)
    with served("--run", run, "--workers", 2) as (process, port), Load(port, expected, 16) as load:
        wait_until(lambda: sum(load.answered) > 20)
        wait_until(lambda: min(pss(one, "memfd:ftlit-weights") for one in workers(process)) > 0.4 * weights)  # each has clients
        both = workers(process)
        mapped, whole = [pss(one, "memfd:ftlit-weights") for one in both], [pss(one) for one in both]
        process.send_signal(signal.SIGTERM)
    print(f"{weights / 2**20:.0f} MiB of weights; one process {alone / 2**20:.0f}; two workers", *(one >> 20 for one in whole))
    assert load.lost == []
    assert sum(mapped) == pytest.approx(weights, rel=0.03)
    assert mapped == pytest.approx([weights / 2] * 2, rel=0.1)
    assert sum(whole) < 2 * alone - 0.8 * weights


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(own_run: Path) -> None:
    with served("--run", own_run, "--workers", 2) as (process, port):
        requests = 'ftlit_requests_total{endpoint="ready",status="200"}'
        wait_until(lambda: get(port, "/ready")[0] == 200)
        first, second = workers(process)
        for _ in range(20):
            get(port, "/ready")
        first.kill()
        wait_until(lambda: get(port, "/ready")[0] == 503, 5)
        assert counted(port, requests) >= 21
        wait_until(lambda: get(port, "/ready")[0] == 200)
        assert counted(port, requests) >= 22
        assert second in workers(process)
        assert len(workers(process)) == 2
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches all processes
        assert process.wait(60) == 0
        said = process.stdout.read()  # type: ignore[union-attr]
    assert "Traceback" not in said
    assert re.search(rf"worker \d \(process {first.pid}\) was ended by signal 9; it is started again", said)


@pytest.mark.slow
def test_workers_end_with_their_supervisor(own_run: Path) -> None:
    with served("--run", own_run, "--workers", 2) as (process, _):
        left = workers(process)
        assert len(left) == 2
        process.kill()
        process.wait()
        assert psutil.wait_procs(left, 30)[1] == []


@pytest.mark.slow
def test_a_folder_that_no_worker_can_serve(tmp_path: Path) -> None:
    said = run_ftlit(serve("--run", tmp_path, "--port", 0, "--workers", 2), 2)
    assert said.count("holds no finished run") == said.count("\n") == 1
