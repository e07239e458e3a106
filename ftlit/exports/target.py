"""The folder that a command writes: checked first, made beside its place, and moved there when it is whole."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftlit.errors import UserError
from ftlit.util.files import is_disk_full, unwritable


def check_target(target: Path, overwrite: bool, is_earlier: Callable[[Path], bool], name: str) -> None:
    """Check that a folder can be written.

    Args:
        target: The folder.
        overwrite: Whether what the same command wrote before may be replaced.
        is_earlier: Whether a folder is that.
        name: What it is called, such as ``export``.

    Raises:
        UserError: It is a file, or holds something else, or an earlier result that should stay.
    """
    if target.is_file():
        raise UserError(f"--output {str(target)!r} is a file; expected a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    article = "an" if name[0] in "aeiou" else "a"
    if not is_earlier(target):
        raise UserError(f"--output {str(target)!r} is not empty and not {article} {name}; choose another folder")
    if not overwrite:
        raise UserError(f"--output {str(target)!r} is an earlier {name}; replace it with --overwrite, or choose another folder")


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """Yield a temporary folder, whose ``folder`` takes the place of the target at the end. After an error nothing is left.

    Raises:
        UserError: The disk is full, or the target cannot be written.
    """
    work = _temporary_folder(target)
    try:
        yield work
        _replace(work / "folder", target, work / "replaced")
    except OSError as error:
        if is_disk_full(error):
            raise unwritable(target, error) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _temporary_folder(target: Path) -> Path:
    """Create a folder next to the target, on the same disk, so that its contents can be moved by renaming."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)).resolve()
    except OSError as error:
        raise UserError(f"--output {str(target)!r} cannot be written: {error}") from error


def _replace(folder: Path, target: Path, backup: Path) -> None:
    """Move a folder to its target by renaming. An earlier target is restored if this fails."""
    replaced = target.is_dir()
    if replaced:
        target.rename(backup)
    try:
        folder.rename(target)
    except OSError:
        if replaced:
            backup.rename(target)
        raise
