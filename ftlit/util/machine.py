"""The machine: what Linux says of its processor, and memory that is kept in the process."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep freed memory for the next training step, which needs as much again, instead of returning it to the system.

    The system would clear each page anew, which takes longer than to fill it. Results do not change.

    Returns:
        Whether the C library can be told so; that is glibc, on Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, 1 << 30) and library.mallopt(TRIM_THRESHOLD, (1 << 31) - 1))


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Let PyTorch compute on one thread inside the block, if wanted.

    A thread of PyTorch that waits for the next small operation keeps its core busy for some milliseconds, in which a library
    with threads of its own, such as ONNX Runtime, would have to wait.
    """
    if not wanted:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def processor_facts() -> dict[str, str]:
    """The facts about the first core by name, such as ``model name``, ``vendor_id`` and ``flags``; none on other systems."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(errors="replace").partition("\n\n")[0]
    parts = (line.partition(":")[::2] for line in first.splitlines())
    return {name.strip(): value.strip() for name, value in parts}
