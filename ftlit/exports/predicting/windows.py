"""Windows: rows that are held in memory, sorted by length and cut into batches together.

A window depends on the rows before it only through their number and size. So a command that goes on after an interruption, or
that takes every n-th window, makes the very batches of one that does all, and its predictions have the same bits.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ftlit.errors import UserError

T = TypeVar("T")
Window = list[tuple[int, str, Any]]  # rows with their numbers from 0 and their places in the file

WINDOW_ROWS = 4096
WINDOW_CHARACTERS = 1 << 21  # after which a window of long texts ends earlier


def windows(rows: Iterable[tuple[str, Any]], most: int) -> Iterator[Window]:
    """Cut located rows into windows of `most` rows, or fewer long ones."""
    window: Window = []
    size = 0
    for number, (place, row) in enumerate(rows):
        window.append((number, place, row))
        size += characters(row)
        if len(window) == most or size >= WINDOW_CHARACTERS:
            yield window
            window, size = [], 0
    if window:
        yield window


def characters(row: Any) -> int:
    """Number of characters of a row, plus one for each of its parts."""
    total, todo = 0, [row]
    while todo:
        part = todo.pop()
        total += 1 + (len(part) if isinstance(part, str) else 0)
        if isinstance(part, list | dict):
            todo += part.values() if isinstance(part, dict) else part
    return total


@dataclass(frozen=True)
class Share:
    """The part of the rows that a command predicts.

    Args:
        index: Which windows are taken: this one, counted from 0, of each `count`.
        count: Number of commands that share the rows.
        done: Number of these rows that an earlier command has predicted.
    """

    index: int = 0
    count: int = 1
    done: int = 0

    def of(self, found: Iterable[Window]) -> Iterator[tuple[Window, int]]:
        """The windows that are left, each with the number of its rows that have been predicted."""
        done = self.done
        for i, window in enumerate(found):
            if i % self.count == self.index:
                if done < len(window):
                    yield window, done
                done = max(0, done - len(window))


def share_of(shard: str | None, done: int = 0) -> Share:
    """The share that `--shard` names, such as ``2/4``; None stands for all rows.

    Raises:
        UserError: It names none.
    """
    if shard is None:
        return Share(done=done)
    named = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    if not named or not 1 <= int(named[1]) <= int(named[2]):
        raise UserError(f"--shard {shard!r} should read like 2/4, the second of four shares of the rows")
    return Share(int(named[1]) - 1, int(named[2]), done)


def ahead(items: Iterator[T], room: int = 1) -> Iterator[T]:
    """The items of an iterator, of which a thread makes the next ones while one is used.

    Args:
        items: The iterator.
        room: Number of items that are made before they are asked for.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = deque(pool.submit(next, items, end) for _ in range(room))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
