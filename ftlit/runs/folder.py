"""Protect an earlier run in the run folder from being overwritten."""

import os
import shutil
from pathlib import Path

from ftlit.errors import UserError
from ftlit.runs.files import CONTENTS, LAST
from ftlit.runs.reading import RunFolder

PATTERNS = "*_report.*", "*_confusion.*", "hpc_ckpt_*.ckpt"  # the last of Lightning under Slurm, which would begin from it


def check_place(run_dir: Path) -> None:
    """Check that a run folder can be created and written to.

    Raises:
        UserError: A file stands in its place, or its files cannot be written.
    """
    standing = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists() or path.is_symlink())
    if not standing.is_dir():
        raise UserError(f"run_dir is {run_dir}, but {standing} is not a folder; choose another --run_dir")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise UserError(f"run_dir is {run_dir}, but {standing} cannot be written to; choose another --run_dir")


def check_free(run_dir: Path, resume: bool, overwrite: bool, begun_from: dict[str, str | Path | None] | None = None) -> None:
    """Check that a run folder can be used: it contains no run, or the run in it should be resumed or replaced.

    Args:
        run_dir: The run's folder.
        resume: Whether to continue the run in it.
        overwrite: Whether to replace that run.
        begun_from: The options that name the initial weights of the new run, with their values.

    Raises:
        UserError: The folder contains a run and neither flag is set, there is no run to resume, another version of ftlit
            wrote the run, or the initial weights would be removed.
    """
    taken = [name for name in CONTENTS if (run_dir / name).exists()]
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite replaces it; set only one of them")
    if resume and not taken:
        raise UserError(f"--resume: {run_dir} holds no run; leave --resume out to start one there")
    for option, path in (begun_from or {}).items():
        if overwrite and path and _would_clear(run_dir, Path(path).resolve()):
            raise UserError(f"--overwrite would remove {path}, from which {option} begins; choose another --run_dir")
    run = RunFolder(run_dir)
    if resume:
        run.check_schema()
    if resume and run.finished and not (run_dir / LAST).is_file():
        raise UserError(
            f"--resume: {run_dir} holds a finished run that kept no {LAST} to continue from; train again with --overwrite and "
            "more trainer.max_epochs, or begin another --run_dir with its weights by --model.init_from"
        )
    if taken and not resume and not overwrite:
        state = "a finished" if run.finished else "an unfinished"
        raise UserError(
            f"{run_dir} holds {state} run; continue it with --resume, replace it with --overwrite, or choose another --run_dir"
        )


def _would_clear(run_dir: Path, path: Path) -> bool:
    """Whether `clear` would remove this file, or the run in this folder."""
    return path == run_dir.resolve() or any(path.is_relative_to(run_dir.resolve() / name) for name in CONTENTS)


def clear(run_dir: Path) -> None:
    """Remove the files of an earlier run, and no others in its folder."""
    for name in CONTENTS:
        path = run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for pattern in PATTERNS:
        for path in run_dir.glob(pattern):
            path.unlink()
