"""Run one cell in a process that may be killed at any moment."""

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftlit.errors import Stopped, user_error
from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell
from ftlit.study.state.folder import Folder
from ftlit.study.state.tracking import end_tracking
from ftlit.util.files import is_disk_full

# Exit codes: 12 and 28 are the system's error numbers for memory that ran out and for a full disk, and 143 is what shells
# return for a terminated process.
DONE, FAILED, OUT_OF_MEMORY, DISK_FULL, ALREADY_CLAIMED, TERMINATED = 0, 1, 12, 28, 75, 128 + signal.SIGTERM


@dataclass(frozen=True)
class Job:
    """A cell to run.

    Args:
        folder: Folder of the study.
        cell: The cell.
        split: The split on which repetitions are compared.
        keep: Which checkpoints to keep.
        threads: Number of CPU threads.
        device: The GPU to use, as in CUDA_VISIBLE_DEVICES; None for all visible ones.
        shared: Whether other cells may run on the device at the same time.
    """

    folder: Path
    cell: Cell
    split: str
    keep: str
    threads: int
    device: str | None = None
    shared: bool = False


def clear_option_variables() -> None:
    """Unset the environment variables that are options of the command line, so that only its config decides a cell."""
    for name in [name for name in os.environ if name.startswith("FTLIT_")]:
        del os.environ[name]


def arguments(job: Job, folder: Folder) -> list[str]:
    """The arguments of the command that completes a cell from its current state."""
    run_dir, quiet = folder.run_dir(job.cell.name), "--trainer.enable_progress_bar=false"
    run = RunFolder(run_dir)
    keep_last = f"--keep_last={str(job.keep == 'all').lower()}"
    if run.finished and run.results and run.best_checkpoint:  # without it, such as a trial that was not chosen, train again
        command = "test" if job.split == "test" else "validate"
        return [command, "--config", str(folder.config(job.cell.name)), quiet]
    test = f"--test_after_fit={str(job.cell.final and job.split == 'test').lower()}"
    if run.last_checkpoint and not run.finished:
        return ["fit", "--run_dir", str(run_dir), "--resume", test, keep_last, quiet]
    return ["fit", "--config", str(folder.config(job.cell.name)), "--overwrite", test, keep_last, quiet]


def work(job: Job) -> None:
    """Run a cell, unless it is done or another process has it, and exit with one of the codes above."""
    follow_parent()
    clear_option_variables()
    if job.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.device
    folder = Folder(job.folder, job.split)
    with folder.claim(job.cell.name) as free:
        code = ALREADY_CLAIMED if not free else DONE if folder.done(job.cell) else _run(job, folder)
    sys.exit(code)


def _run(job: Job, folder: Folder) -> int:
    import torch

    from ftlit.commands.cli import run
    from ftlit.commands.planning.capacity import out_of_memory
    from ftlit.commands.report import PICTURES

    PICTURES.set(job.cell.final)
    torch.set_num_threads(job.threads)
    name = job.cell.name
    try:
        folder.write_config(job.cell)
        folder.note("started", name)
        with _output_to(folder.log(name)):
            given = arguments(job, folder)
            if "--overwrite" in given:
                shutil.rmtree(folder.run_dir(name), ignore_errors=True)
            run(given)
            end_tracking()
        _finish(folder, job.cell, job.keep)
        return DONE
    except Stopped:
        return TERMINATED
    except BaseException as error:
        if is_disk_full(error):
            return DISK_FULL
        if job.shared and out_of_memory(error):
            return OUT_OF_MEMORY
        folder.fail(name, _failure_sentence(error, folder.log(name)))
        return FAILED


def _finish(folder: Folder, cell: Cell, keep: str) -> None:
    folder.note_predicted(cell)
    folder.prune_checkpoints(cell, keep)
    folder.note("finished", cell.name)


def finish_ended(folder: Folder, cells: Sequence[Cell], keep: str) -> None:
    """Do what is left for cells whose process was killed just after their run had ended."""
    last = folder.last_events()
    for cell in cells:
        if last.get(cell.name) == "started" and folder.done(cell):
            with folder.claim(cell.name) as free:
                if free and folder.last_events()[cell.name] == "started":
                    _finish(folder, cell, keep)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append all output of this process to a file, including the traceback of an error."""
    with path.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, SystemExit):
                traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _failure_sentence(error: BaseException, log: Path) -> str:
    """Why a cell failed, in a sentence. The parser prints its errors before it exits, so they are read from the log."""
    if (mistake := user_error(error)) is not None:
        return str(mistake)
    if isinstance(error, SystemExit):
        lines = log.read_text("utf-8", errors="replace").splitlines()
        return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "see its log")
    return f"{type(error).__name__}: {error}"


def follow_parent() -> None:
    """Leave Ctrl-C to the process that waits for this one, and end when it has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this process once its parent has died; the cell continues from its last checkpoint when it runs again."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(FAILED)
