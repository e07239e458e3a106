"""Memory that processes share. It has no name and no file, so that nothing is left of it once they have ended."""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
POSSIBLE = hasattr(os, "memfd_create")  # on Linux


def reserve(name: str, size: int = 0) -> int:
    """Return the file descriptor of new memory, which is filled with zeros.

    Args:
        name: What it holds, as the system shows it.
        size: Number of bytes.
    """
    found = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(found, size)
    return found


def mapped(descriptor: int) -> memoryview:
    """The bytes of memory; what is written to them is seen by all processes."""
    return memoryview(mmap.mmap(descriptor, 0))


def mapped_to_read(descriptor: int) -> mmap.mmap:
    """The bytes of memory; what is written to them is seen by this process alone."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)


def seal(descriptor: int) -> None:
    """Let nobody change memory any more."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)


def is_sealed(descriptor: int) -> bool:
    """Whether memory is complete, and cannot be changed any more."""
    return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS == SEALS


@contextmanager
def turn(descriptor: int) -> Iterator[None]:
    """Wait until no other process has its turn; the end of a process ends its turn, too."""
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
