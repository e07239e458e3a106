"""The folder of stored values: what is in it, what has to go, and who fills it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftlit.util.cache import cache_folder
from ftlit.util.files import PART

ENDING = ".states"
SPARE = 2**30  # bytes of the disk that stay free


def states_folder() -> Path:
    """The folder of stored values."""
    folder = cache_folder() / "states"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def states_file(key: str) -> Path:
    """The file of the values that a key stands for."""
    return states_folder() / f"{key}{ENDING}"


@contextmanager
def filling(path: Path) -> Iterator[None]:
    """Keep other processes from filling the same file; what a killed one has left of it is removed."""
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock")):
        for left in path.parent.glob(f"{path.name}.*{PART}"):
            left.unlink(missing_ok=True)
        yield


def used(path: Path) -> None:
    """Note that a file has been used now."""
    with suppress(OSError):
        os.utime(path)


def reason_of_room(need: int, limit: int, path: Path) -> str | None:
    """Why there is no room for files, or None; the files that have not been used for the longest time are removed for it.

    Runs that read a removed file still have it, since they have opened it.

    Args:
        need: Bytes of the files.
        limit: Bytes that the folder may have.
        path: The file to write, whose present content does not count.
    """
    path.unlink(missing_ok=True)
    files = sorted(((file.stat(), file) for file in states_folder().glob(f"*{ENDING}")), key=lambda found: found[0].st_mtime)
    total = sum(stat.st_size for stat, _ in files)
    for stat, file in files:
        if total + need <= limit:
            break
        file.unlink(missing_ok=True)
        total -= stat.st_size
    free = shutil.disk_usage(states_folder()).free
    if need + SPARE <= free:
        return None
    return f"the stored values would take {gigabytes(need)}, and the disk has {gigabytes(free)} free"


def reason_of_limit(need: int, limit: int) -> str | None:
    """Why files are too large for the limit of the config, or None.

    Args:
        need: Bytes of the files.
        limit: Bytes that the folder may have.
    """
    if need <= limit:
        return None
    return f"the stored values would take {gigabytes(need)}, above data.cache_limit of {gigabytes(limit)}"


def gigabytes(count: float) -> str:
    """Format a number of bytes in GiB, or in MiB if it is small."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
