"""The run in the process from which cells are forked changes nothing that a cell could notice."""

import os
import random
import signal
import sys
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from ftlit.commands.report import PICTURES, write_evaluation
from ftlit.study.running import rehearsal


def settings() -> dict[str, Any]:
    """What processes inherit from the one that they are forked from."""
    kind, keys, *rest = np.random.get_state()  # type: ignore[misc]
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "warnings": list(warnings.filters),
        "random": (random.getstate(), kind, keys.tolist(), rest, torch.get_rng_state().tolist()),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)},
        "threads": [thread.name for thread in threading.enumerate()],
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        "cache": datasets.config.HF_DATASETS_CACHE,
        "output": (sys.stdout, sys.stderr),
    }


def test_a_rehearsal_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    ran = list[list[str]]()

    def run(arguments: list[str]) -> None:
        really(arguments)
        ran.append(arguments)

    really = rehearsal.run
    monkeypatch.setattr(rehearsal, "run", run)
    monkeypatch.setattr(rehearsal, "suppress", lambda *_: nullcontext())  # show its errors
    monkeypatch.setattr(rehearsal, "may_have_gpu", lambda: False)
    before = settings()
    rehearsal.rehearse()
    assert settings() == before
    assert len(ran) == 1
    assert not Path(next(arg for arg in ran[0] if arg.startswith("--run_dir=")).partition("=")[2]).exists()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_rehearsed_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "may_have_gpu", lambda: True)
    monkeypatch.setattr(rehearsal, "run", lambda arguments: pytest.fail("a forked process could not use the GPU"))
    rehearsal.rehearse()


@pytest.mark.parametrize(
    ("kind", "program", "found"),
    [("cuda", "/usr/bin/nvidia-smi", True), ("hip", None, False), (None, "/usr/bin/nvidia-smi", False)],
)
def test_where_a_gpu_is_looked_for(kind: str | None, program: str | None, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "hip", "xpu"):
        monkeypatch.setattr(torch.version, name, "1.0" if name == kind else None, raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(rehearsal, "which", lambda name: program)
    monkeypatch.setattr(rehearsal, "GPU_DEVICES", ())
    assert rehearsal.may_have_gpu() == found


def test_a_rehearsal_that_fails_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str]) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(rehearsal, "run", run)
    monkeypatch.setattr(rehearsal, "may_have_gpu", lambda: False)
    before = settings()
    rehearsal.rehearse()
    assert settings() == before


def test_no_picture_of_a_trial(tmp_path: Path) -> None:
    report = {"confusion": [[3, 1], [0, 4]], "labels": ["bad", "good"]}
    token = PICTURES.set(False)
    try:
        assert [file.suffix for file in write_evaluation(tmp_path, "validation", report)] == [".json", ".txt", ".csv"]
    finally:
        PICTURES.reset(token)
    assert write_evaluation(tmp_path, "validation", report)[-1].suffix == ".png"
