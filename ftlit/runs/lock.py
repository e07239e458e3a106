"""A lock on a run folder, so that two processes never write to the same run."""

import errno
import fcntl
import os
import socket
import sys
import time
from pathlib import Path

from ftlit.errors import UserError
from ftlit.runs.files import LOCK
from ftlit.util.files import unwritable

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # another process has the lock
_held: dict[int, Path] = {}  # the locks of this process by file descriptor


def _leave_to_parent() -> None:
    """Close the locks in a forked process, such as a worker of a data loader, which may outlive the run."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


class RunLock:
    """The lock of a run folder: a file in it that is locked with ``flock``, which the system frees when the process dies.

    The lock is released at the end of a ``with`` block. Nothing is left of it, not even a folder that was made for it.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._descriptor: int | None = None
        self._made: list[Path] = []

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def take(self) -> None:
        """Lock the folder, which is created if it does not exist. A lock that is held already stays.

        Raises:
            UserError: Another process has locked the folder, or it cannot be written.
        """
        if self._descriptor is not None:
            return
        try:
            self._made = [self.folder] if not self.folder.exists() else []
            self.folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._locked()
        except OSError as error:
            raise unwritable(self.folder, error) from error
        if self._descriptor is not None:
            _held[self._descriptor] = self.folder.resolve()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n".encode())

    def _locked(self) -> int | None:
        """Open and lock the file; None where the file system has no locks."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _lock(descriptor, self.folder, self.path):
                os.close(descriptor)
                self.path.unlink(missing_ok=True)
                return None
            if self._is_here(descriptor):
                return descriptor
            os.close(descriptor)  # the process that held it has removed it meanwhile

    def _is_here(self, descriptor: int) -> bool:
        """Whether an open file is still that in the folder."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Free the lock."""
        if self._descriptor in _held:
            self.path.unlink(missing_ok=True)  # while it is locked, so that no other process loses its file
            del _held[self._descriptor]
            os.close(self._descriptor)
        self._descriptor = None
        for folder in self._made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _lock(descriptor: int, folder: Path, path: Path) -> bool:
    """Lock an open file; False where the file system has no locks.

    Raises:
        UserError: Another process has locked it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            os.close(descriptor)
            raise _in_use(folder, path) from error
        print(f"{folder} is on a file system without locks: let no other process use it meanwhile", file=sys.stderr)
        return False
    return True


def _in_use(folder: Path, path: Path) -> UserError:
    try:
        owner = path.read_text("utf-8").strip() or "that has just started"
    except OSError:
        owner = "that has just ended"
    return UserError(
        f"{folder} is in use by the process {owner}; wait until it has ended, stop it, or choose another --run_dir"
    )


def check_not_in_use(folder: Path) -> None:
    """Check that no other process has locked a run folder.

    Raises:
        UserError: Another process has.
    """
    path = folder / LOCK
    if folder.resolve() in _held.values() or not path.is_file():
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            raise _in_use(folder, path) from error
    finally:
        os.close(descriptor)
