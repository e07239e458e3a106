"""Protect an earlier run in the run folder from being overwritten, and other folders from being taken for a run."""

import shutil
from pathlib import Path

from ftlit.errors import UserError
from ftlit.runs.files import CHECKPOINTS, CONTENTS, LAST, PREDICTIONS, RECORD
from ftlit.runs.lock import check_not_in_use
from ftlit.runs.reading import RunFolder, is_run
from ftlit.util.files import PART, read_json

# Also removed with a run; the last is that of Lightning under Slurm, which would begin from it.
PATTERNS = *(f"{split}_{kind}.*" for split in ("validation", "test") for kind in ("report", "confusion")), "hpc_ckpt_*.ckpt"


def run_folder(run_dir: str | Path) -> Path:
    """The path of a run folder.

    Raises:
        UserError: The path is empty, or is or lies below a file.
    """
    if not str(run_dir).strip():
        raise UserError("--run_dir is empty; expected a folder such as runs/mine")
    folder = Path(run_dir)
    if file := next((path for path in (folder, *folder.parents) if path.is_file()), None):
        raise UserError(f"--run_dir {folder}: {file} is a file; expected a folder")
    return folder


def check_free(run_dir: Path, resume: bool, overwrite: bool, begun_from: dict[str, str | Path | None] | None = None) -> None:
    """Check that a run folder can be used: it contains no run, or the run in it should be resumed or replaced.

    Args:
        run_dir: The run's folder.
        resume: Whether to continue the run in it.
        overwrite: Whether to replace that run.
        begun_from: The options that name the initial weights of the new run, with their values.

    Raises:
        UserError: The folder contains a run and neither flag is set, it contains other files with the names of those of a run,
            another process writes to it, there is no run to resume, another version of ftlit wrote the run, or the initial
            weights would be removed.
    """
    run_folder(run_dir)
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite replaces it; set only one of them")
    check_not_in_use(run_dir)
    run = RunFolder(run_dir)
    taken = [name for name in CONTENTS if (run_dir / name).exists()]
    if taken and not is_run(read_json(run_dir / RECORD)):
        raise UserError(_foreign(run_dir, taken, resume))
    if resume and not taken:
        raise UserError(f"--resume: {run_dir} holds no run; leave --resume out to start one there")
    for option, path in (begun_from or {}).items():
        if overwrite and path and _would_clear(run_dir, Path(path).resolve()):
            raise UserError(f"--overwrite would remove {path}, from which {option} begins; choose another --run_dir")
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


def _foreign(run_dir: Path, taken: list[str], resume: bool) -> str:
    record = f"its {RECORD} is that of another program" if RECORD in taken else f"it has no {RECORD}"
    others = [name for name in taken if name != RECORD]
    kept = f", and fit would overwrite its {', '.join(others)}" if others and not resume else ""
    return f"{run_dir} holds no run: {record}{kept}; choose another --run_dir"


def _would_clear(run_dir: Path, path: Path) -> bool:
    """Whether `clear` would remove this file, or the run in this folder."""
    return path == run_dir.resolve() or any(path.is_relative_to(run_dir.resolve() / name) for name in CONTENTS)


def clear(run_dir: Path) -> None:
    """Remove the files of an earlier run, and no others in its folder.

    The record goes last: without it, what a killed process has left would be taken for files of the user.
    """
    remove_parts(run_dir)
    others = [path for pattern in PATTERNS for path in run_dir.glob(pattern)]
    for path in [*others, *(run_dir / name for name in CONTENTS if name != RECORD), run_dir / RECORD]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def remove_parts(run_dir: Path) -> None:
    """Remove the files that a killed process was writing."""
    for folder in (run_dir, run_dir / CHECKPOINTS, run_dir / PREDICTIONS):
        for path in folder.glob(f"*.*-[0-9]*{PART}"):
            path.unlink(missing_ok=True)
