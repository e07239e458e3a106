"""The file of the values of a split, such as hidden states: rows of one width, one example after the other, without padding."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftlit.util.files import replacing

MAGIC = b"ftlit hidden states 1\n"  # ends the file, after the length of what describes it


@dataclass(frozen=True)
class Layout:
    """Where the rows of each example are.

    Args:
        key: Stands for everything that the values depend on.
        width: Numbers of a row.
        dtype: Their type in PyTorch, such as `float32`.
        starts: The first row of each example in the file, ``(examples,)``.
        counts: Its number of rows, ``(examples,)``.
    """

    key: str
    width: int
    dtype: str
    starts: np.ndarray
    counts: np.ndarray

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * getattr(torch, self.dtype).itemsize

    def described(self) -> bytes:
        """The end of the file."""
        text = json.dumps({"key": self.key, "width": self.width, "dtype": self.dtype, "examples": len(self.starts)}).encode()
        places = np.stack([self.starts, self.counts]).astype("<i8").tobytes()
        return places + text + len(text).to_bytes(8, "little") + MAGIC


class Store:
    """Reads the values of a batch from a file, which takes no memory.

    Args:
        path: The file.
        layout: Its layout, from `layout_of`.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, examples: list[int]) -> Tensor:
        """Return the rows of examples, one example after the other, ``(rows, width)``.

        Raises:
            OSError: The file is shorter than it was.
        """
        layout, size = self.layout, self.layout.row_bytes
        counts = layout.counts[examples]
        ends = np.cumsum(counts) * size
        made = torch.empty(int(counts.sum()), layout.width, dtype=getattr(torch, layout.dtype))
        target = made.view(torch.uint8).numpy().reshape(-1).data
        for begin, end, start in zip(ends - counts * size, ends, layout.starts[examples] * size, strict=True):
            read_whole(self._file, target[int(begin) : int(end)], int(start), self.path)
        return made


def read_whole(file: int, target: memoryview, start: int, path: Path) -> None:
    """Fill a buffer from a place in a file."""
    while len(target):
        count = os.preadv(file, [target], start)
        if not count:
            raise OSError(f"{path} was cut off while it was read")
        target, start = target[count:], start + count


def layout_of(path: Path, key: str) -> Layout | None:
    """The layout of a file; None if the file does not exist, was cut, or holds something else than `key` stands for."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - len(MAGIC) - 8
            file.seek(max(end, 0))
            length, magic = int.from_bytes(file.read(8), "little"), file.read()
            if end < 0 or magic != MAGIC or length > end:
                return None
            file.seek(end - length)
            found = json.loads(file.read(length))
            count, tail = int(found["examples"]), end - length
            file.seek(tail - 16 * count)
            starts, counts = np.frombuffer(file.read(16 * count), "<i8").reshape(2, count)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    layout = Layout(found["key"], found["width"], found["dtype"], starts, counts)
    whole = tail - 16 * count == int(counts.sum()) * layout.row_bytes
    return layout if whole and layout.key == key else None


@contextmanager
def writing(path: Path, key: str, examples: int) -> Iterator["Writer"]:
    """Write a file of values inside; it is there whole or not at all.

    Args:
        path: The file.
        key: Stands for everything that the values depend on.
        examples: Number of examples.

    Raises:
        UserError: The system refuses to write, for example because the disk is full.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        writer = Writer(file, examples)
        yield writer
        file.write(Layout(key, writer.width, writer.dtype, writer.starts, writer.counts).described())


class Writer:
    """Appends the rows of examples to a file, in any order of the examples."""

    def __init__(self, file: Any, examples: int) -> None:
        self.starts, self.counts = np.zeros(examples, np.int64), np.zeros(examples, np.int64)
        self.width, self.dtype, self._file, self._rows = 0, "", file, 0

    def add(self, examples: list[int], counts: list[int], rows: Tensor) -> None:
        """Append the rows of examples.

        Args:
            examples: Their positions in the split.
            counts: Number of rows of each.
            rows: All these rows, one example after the other, ``(rows, width)``.
        """
        self.width, self.dtype = rows.shape[1], str(rows.dtype).removeprefix("torch.")
        self.counts[examples] = counts
        self.starts[examples] = self._rows + np.cumsum([0, *counts[:-1]])
        self._rows += len(rows)
        self._file.write(rows.contiguous().cpu().view(torch.uint8).numpy().reshape(-1).data)


class Held:
    """Keeps values in memory instead of a file.

    Args:
        examples: Number of examples.
    """

    def __init__(self, examples: int) -> None:
        self._rows = [torch.empty(0)] * examples

    def add(self, examples: list[int], counts: list[int], rows: Tensor) -> None:
        """Keep the rows of examples; the arguments are those of `Writer.add`."""
        for example, own in zip(examples, rows.cpu().split(counts), strict=True):
            self._rows[example] = own

    def read(self, examples: list[int]) -> Tensor:
        """Return the rows of examples, one example after the other, ``(rows, width)``."""
        return torch.cat([self._rows[example] for example in examples])
