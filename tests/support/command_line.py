"""Running the command line in tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main

ROOT = Path(__file__).parents[2]


def arguments(command: str, model: str, data: str, **options: Any) -> list[str]:
    """Arguments of a small run on the CPU in float32; options with dots are given as dictionaries of keys.

    Args:
        command: `fit`, `validate` or `test`.
        model: Name of the task's class.
        data: Name of the data module's class.
        **options: Values by key, with ``__`` for each dot; None leaves out what is given by default.
    """
    given = {
        "trainer__accelerator": "cpu",
        "trainer__devices": 1,
        "trainer__precision": "32-true",
        "trainer__enable_progress_bar": "false",
        "trainer__max_epochs": 1,
        "trainer__log_every_n_steps": 1,
        "model": model,
        "data": data,
        "data__batching": "LengthGrouped",
        "data__batching__batch_size": 8,
        **options,
    }
    return [command, *(f"--{key.replace('__', '.')}={value}" for key, value in given.items() if value is not None)]


def refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that leaves with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(args)
    assert left.value.code == 2
    return capsys.readouterr().err


def start(args: list[str], module: str = "ftlit", **environment: str) -> subprocess.Popen[str]:
    """Start ``python -m ftlit``, or another module, with one thread."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", module, *args]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True
    )


def ftlit(args: list[str], code: int = 0, module: str = "ftlit", **environment: str) -> str:
    """Output of ``python -m ftlit``, or of another module, which must leave with the given code."""
    process = start(args, module, **environment)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def run_in_turn(commands: list[list[str]]) -> None:
    """Run commands on several devices one after another, whose processes are those of the first."""
    ftlit([json.dumps(commands)], module="tests.support.several_commands")


def kill_when(args: list[str], file: Path, **environment: str) -> None:
    """Start a run and kill it with SIGKILL, with all its processes, as soon as a file stands there."""
    process = start(args, **environment)
    limit = time.monotonic() + 240
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit, "the run wrote no checkpoint in time"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
