"""Run one cell in a process of its own, which may be killed at any moment."""

import errno
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftlit.errors import user_error
from ftlit.runs.files import CONFIG
from ftlit.runs.reading import RunFolder
from ftlit.study.plan.cells import Cell
from ftlit.study.state.folder import Folder
from ftlit.study.state.tracking import end_tracking

# Exit codes; 28 is the system's number for a full disk, 143 what a shell says of a process that was told to end.
DONE, FAILED, FULL, TAKEN, TERMINATED = 0, 1, 28, 75, 128 + signal.SIGTERM


@dataclass(frozen=True)
class Job:
    """A cell to run, and how.

    Args:
        folder: Folder of the study.
        cell: The cell.
        split: Where repetitions are compared.
        keep: Which checkpoints stay.
        threads: Threads on a CPU.
        device: The GPU to use, as CUDA_VISIBLE_DEVICES takes it; None for all that are visible.
    """

    folder: Path
    cell: Cell
    split: str
    keep: str
    threads: int
    device: str | None = None


def forget_options() -> None:
    """Drop the environment variables that are options of the command line: a cell is what its config says."""
    for name in [name for name in os.environ if name.startswith("FTLIT_")]:
        del os.environ[name]


def arguments(job: Job, folder: Folder) -> list[str]:
    """The command that brings a cell from where it stands to its end."""
    run_dir, quiet = folder.run_dir(job.cell.name), "--trainer.enable_progress_bar=false"
    run = RunFolder(run_dir)
    keep_last = f"--keep_last={str(job.keep == 'all').lower()}"
    if run.finished and run.results:
        command = "test" if job.split == "test" else "validate"
        return [command, "--config", str(run_dir / CONFIG), quiet]
    test = f"--test_after_fit={str(job.cell.final and job.split == 'test').lower()}"
    if run.last_checkpoint:
        return ["fit", "--run_dir", str(run_dir), "--resume", test, keep_last, quiet]
    return ["fit", "--config", str(folder.config(job.cell.name)), "--overwrite", test, keep_last, quiet]


def work(job: Job) -> None:
    """Run a cell and leave with one of the exit codes above: nothing is run that another process has, or that is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which then ends this process
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    forget_options()
    if job.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.device
    folder = Folder(job.folder, job.split)
    with folder.claim(job.cell.name) as free:
        code = TAKEN if not free else DONE if folder.done(job.cell) else _run(job, folder)
    sys.exit(code)


def _run(job: Job, folder: Folder) -> int:
    import torch
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from ftlit.commands.cli import run

    torch.set_num_threads(job.threads)
    name = job.cell.name
    try:
        folder.write_config(job.cell)
        folder.note("started", name)
        with _printing_to(folder.log(name)):
            given = arguments(job, folder)
            if "--overwrite" in given:
                shutil.rmtree(folder.run_dir(name), ignore_errors=True)
            run(given)
            end_tracking()
        folder.note_predicted(job.cell)
        folder.tidy(job.cell, job.keep)
        folder.note("finished", name)
        return DONE
    except SIGTERMException:
        return TERMINATED
    except BaseException as error:
        if _full(error):
            return FULL
        folder.fail(name, _sentence(error, folder.log(name)))
        return FAILED


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Inside, all output of this process goes to the end of a file; a traceback, too, before an error leaves."""
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


def _sentence(error: BaseException, log: Path) -> str:
    """Why a cell failed, in a sentence; the parser has printed it before it leaves."""
    if (mistake := user_error(error)) is not None:
        return str(mistake)
    if isinstance(error, SystemExit):
        lines = log.read_text("utf-8", errors="replace").splitlines()
        return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "see its log")
    return f"{type(error).__name__}: {error}"


def _full(error: BaseException | None) -> bool:
    """Whether the disk was full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with_parent(parent: int) -> None:
    """End this process when its parent has died: the cell goes on from its last checkpoint when it is run again."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(FAILED)
