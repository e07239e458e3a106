"""Kill a run again and again, fill its disk, start a second process beside it: it ends with the bits of one that ran in peace.

python -m tests.support.kills --kills 30      # writes experiments/results/kills.md
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ftlit.__main__ import main as ftlit
from ftlit.runs.files import RECORD
from ftlit.training.interruption import Interruption
from tests.support.command_line import ROOT, arguments
from tests.support.resuming import differences, final_state

RESULTS = Path("experiments/results/kills.md")
KINDS = ("SIGKILL", "two processes", "disk full", "SIGTERM", "SIGINT", "SIGTERM twice")
SIGNALS = {
    "SIGKILL": [signal.SIGKILL],
    "two processes": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "SIGTERM twice": [signal.SIGTERM] * 2,
    "SIGINT": [signal.SIGINT],
}
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGTERM twice": 143, "SIGINT": 130}
ROOM = 100_000  # bytes of the largest file where the disk counts as full: checkpoints are larger
SECONDS = 300
EVALUATIONS = ("on_validation_start", "on_validation_batch_end", "on_validation_end", "on_test_end")
HOOKS = ("on_train_batch_end", "on_train_end", *EVALUATIONS)
context = multiprocessing.get_context("forkserver")


@dataclass
class Usual:
    """What a run takes in peace.

    Args:
        seconds: Its time.
        moments: Its number of moments at which it can be disturbed.
    """

    seconds: float
    moments: int


@dataclass
class Found:
    """What came of disturbed runs.

    Args:
        tried: Number of disturbances by kind.
        wrong: Sentences about processes that did not end as they should.
        starts: Number of processes that worked on each run.
        differing: What differs from the undisturbed run, for each run.
    """

    tried: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    differing: list[list[str]] = field(default_factory=list)


def options(run_dir: Path, model: str, data: str, epochs: int) -> list[str]:
    """Arguments of a run with dropout, several validations, a growing log, and an evaluation before and after."""
    given = {
        "trainer__max_epochs": epochs, "trainer__accumulate_grad_batches": 2, "trainer__val_check_interval": 0.5,
        "trainer__enable_progress_bar": "true", "save_every_n_steps": 3, "patience": "null",
        "evaluate_untrained": "true", "test_after_fit": "true",
    }  # fmt: skip
    task = ("TextClassification", "TextClassificationData")
    return arguments("fit", *task, model__backbone=model, data__dataset=data, run_dir=run_dir, **given)


def work(args: list[str], log: Path, room: int | None, passed: Any, at: int, numbers: list[int]) -> None:
    """Run a command in this process; its output goes to a file.

    Args:
        args: The command.
        log: The file.
        room: Bytes of the largest file that can be written; None if there is no limit.
        passed: Shared counter of the moments that have passed.
        at: The moment at which this process signals itself; 0 for never.
        numbers: The signals.
    """
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    count_moments(passed, at, numbers)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    sys.argv = ["ftlit", *args]
    os.environ["OMP_NUM_THREADS"] = "1"
    ftlit(args)


def count_moments(passed: Any, at: int, numbers: list[int]) -> None:
    """Signal this process at a moment: the start or end of a batch or evaluation, or before or after a file is replaced."""

    def moment() -> None:
        passed.value += 1
        for number in numbers if passed.value == at else ():
            os.kill(os.getpid(), number)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            moment()
            found = function(*args, **kwargs)
            moment()
            return found

        return call

    os.replace = counted(os.replace)
    for hook in HOOKS:
        setattr(Interruption, hook, counted(getattr(Interruption, hook)))


def begun(args: list[str], log: Path, room: int | None = None, at: int = 0, numbers: list[int] | None = None) -> Any:
    """Start a command in a process of its own, with the arguments of `work`."""
    log.write_text("")
    passed = context.Value("i", 0)
    process: Any = context.Process(target=work, args=(args, log, room, passed, at, numbers or []))
    process.start()
    process.passed = passed
    return process


def ended(process: Any, log: Path) -> tuple[int, str]:
    """Exit code and output of a process."""
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return 0, f"still there after {SECONDS} s"
    return process.exitcode, log.read_text("utf-8", errors="replace")


def disturbed(run_dir: Path, args: list[str], kinds: list[str], source: random.Random, usual: Usual, found: Found) -> list[str]:
    """Run to the end a run that is disturbed in these ways, one after the other; returns those that came too late.

    Args:
        run_dir: The run's folder.
        args: The command that begins it.
        kinds: What happens to its processes, in order.
        source: Decides the moments.
        usual: What the run takes in peace.
        found: Takes what comes of it.
    """
    resume, log, late = ["fit", "--resume", "--run_dir", str(run_dir)], run_dir.with_suffix(".log"), list[str]()
    for kind in kinds:
        by_clock = kind == "two processes" or source.random() < 0.5
        at = 0 if by_clock else source.randint(1, usual.moments)
        room, numbers = ROOM if kind == "disk full" else None, SIGNALS.get(kind, [])
        process = begun(resume if (run_dir / RECORD).exists() else args, log, room, at, numbers)
        if kind == "two processes":
            _second(process, run_dir, resume, found)
        process.join(source.uniform(0, usual.seconds / 2) if by_clock and kind.startswith("SIG") else 0)
        for number in numbers if by_clock and process.is_alive() else []:
            os.kill(process.pid, number)
        code, said = ended(process, log)
        if code == 0:
            late.append(kind)
            continue
        found.tried[kind] += 1
        if problem := _problem(kind, code, said, run_dir):
            found.wrong.append(problem)
    code, said = ended(begun(resume if (run_dir / RECORD).exists() else args, log), log)
    if code:
        found.wrong.append(f"the last process left with {code}: {said[-300:]}")
    found.starts.append(len(kinds) + 1)
    return late


def _second(process: Any, run_dir: Path, resume: list[str], found: Found) -> None:
    """Start a second process as soon as the first has the folder."""
    while process.is_alive() and not (run_dir / "run.lock").exists():
        time.sleep(0.02)
    log = run_dir.with_suffix(".second")
    code, said = ended(begun(resume, log), log)
    if process.is_alive() and (code != 2 or f"in use by the process {process.pid} " not in said):
        found.wrong.append(f"a second process left with {code}: {said[-300:]}")


AT_REST = ("preempted", "failed", "completed")  # of a folder that the disturbed process did not come to open


def _problem(kind: str, code: int, said: str, run_dir: Path) -> str | None:
    """What is wrong with the end of a disturbed process, unless it had not begun yet."""
    if kind == "two processes" or not (run_dir / RECORD).exists() or not said:
        return None
    record = json.loads((run_dir / RECORD).read_text())
    if kind == "disk full":
        noted = record["status"] == "failed" and "could not be written: file too large" in record["error"]
        unopened = record["status"] in AT_REST and "could not be written: file too large" in said
        right = code == 2 and (noted or unopened)
    elif kind == "SIGKILL" or code < 0:  # before anything was written, the system ends the process
        right = code in (CODES[kind], -signal.SIGTERM, -signal.SIGINT)
    else:
        line = said.count("--resume goes on") == 1 or "nothing was written" in said or "stopped at" not in said
        right = code == CODES[kind] and line
    return None if right else f"{kind}: left with {code}, status {record['status']}: {said[-300:]}"


def kill_runs(folder: Path, kills: int, model: str, data: str, epochs: int = 20, seed: int = 0) -> Found:
    """Disturb runs so many times, three to six times each, and compare each with one that ran in peace."""
    context.set_forkserver_preload(["ftlit.study.running.preload"])
    source, found = random.Random(seed), Found()
    peace, log, began = folder / "peace", folder / "peace.log", time.monotonic()
    process = begun(options(peace, model, data, epochs), log)
    code, said = ended(process, log)
    if code:
        raise RuntimeError(said)
    usual, expected = Usual(time.monotonic() - began, process.passed.value), final_state(peace)
    plan = [KINDS[i % len(KINDS)] for i in range(kills)]
    source.shuffle(plan)
    while plan and len(found.starts) < kills:
        kinds, plan = plan[: (size := source.randint(3, 6))], plan[size:]
        run_dir = folder / f"run-{len(found.starts)}"
        plan += disturbed(run_dir, options(run_dir, model, data, epochs), kinds, source, usual, found)
        try:
            found.differing.append(differences(expected, final_state(run_dir)))
        except (OSError, KeyError, AssertionError) as error:
            found.differing.append([f"{type(error).__name__}: {error}"])
    return found


def report(found: Found, kills: int) -> str:
    """What was tried and found, in Markdown."""
    rows = [[kind, found.tried[kind]] for kind in KINDS]
    differing = sum(map(len, found.differing))
    return "\n\n".join(
        [
            "# A run that is killed again and again",
            f"    python -m tests.support.kills --kills {kills}",
            "Runs of a tiny model with dropout, accumulation, two validations an epoch, and evaluations before and after. They "
            "are disturbed at random moments and continued with `--resume`. Half of the signals come at a time, and half at "
            "the start or end of a batch or an evaluation, or before or after a file is replaced. A second process is started "
            "on the folder of a running one, which is killed afterwards; a full disk is a limit of the size of files.",
            tabulate([*rows, ["all", found.tried.total()]], ["disturbance", "times"], tablefmt="pipe"),
            f"- runs: {len(found.starts)}, with {sum(found.starts)} processes\n"
            f"- weights, optimizer states, files and metrics that differ from the undisturbed run by any bit: {differing}\n"
            f"- processes that did not end as they should: {len(found.wrong)}",
            *(f"- {said}" for said in [*found.wrong, *(str(keys) for keys in found.differing if keys)]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    kills = parser.parse_args().kills
    sys.path.insert(0, str(ROOT))
    from tests.support.data import sentiment_splits, write_splits
    from tests.support.models import tiny_model

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        found = kill_runs(folder, kills, tiny_model(folder / "bert"), write_splits(folder / "data", sentiment_splits()))
    RESULTS.write_text(report(found, kills) + "\n", "utf-8")
    print(report(found, kills))
    raise SystemExit(1 if found.wrong or any(found.differing) else 0)


if __name__ == "__main__":
    main()
