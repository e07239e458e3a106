"""What the workers of a server know of each other: who takes requests, how many connections each has, and what it counted."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from multiprocessing.reduction import DupFd
from typing import Any

from ftlit.serve.metrics import Metrics, Name, Numbers
from ftlit.serve.workers.memory import mapped, reserve, turn

KEY, VALUE = 200, 8  # bytes; the name of a model has at most 100 characters
ENDPOINTS, PER_MODEL = 2000, 50  # numbers, more than there can be
HEAD = 2 * VALUE  # bytes of a worker before its numbers
SEPARATOR = "\t"


class SharedNumbers(Numbers):
    """Numbers in memory that other processes read. They outlive the process that counts, and its successor counts on.

    Args:
        keys: Memory for their names.
        values: Memory for themselves.
    """

    def __init__(self, keys: memoryview, values: Any) -> None:
        self._keys, self._slots = keys, values
        self._places = {name: place for place, (name, _) in enumerate(self.items())}

    def add(self, name: Name, number: float = 1) -> None:
        self._slots[self._place(name)] += number

    def set(self, name: Name, number: float) -> None:
        self._slots[self._place(name)] = number

    def items(self) -> Iterable[tuple[Name, float]]:
        for place, value in enumerate(self._slots):
            if not self._keys[place * KEY]:
                return
            key = bytes(self._keys[place * KEY : (place + 1) * KEY]).rstrip(b"\0")
            yield tuple(key.decode().split(SEPARATOR)), value

    def _place(self, name: Name) -> int:
        if (place := self._places.get(name)) is None:
            place = self._places[name] = len(self._places)
            key, begin = SEPARATOR.join(name).encode(), place * KEY
            self._keys[begin + 1 : begin + len(key)] = key[1:]
            self._keys[begin] = key[0]  # last, since others take it for the sign that there is a name
        return place


class Board:
    """The memory that the workers of a server share. It is passed on to a process that is spawned.

    Args:
        descriptor: File descriptor of the memory, from `Board.reserve`.
        workers: Number of workers.
        models: Number of models.
    """

    def __init__(self, descriptor: int, workers: int, models: int) -> None:
        self.descriptor, self.workers, self.models = descriptor, workers, models
        self._count = ENDPOINTS + PER_MODEL * models
        self._memory, self._size = mapped(descriptor), _size(self._count)
        self._heads = [self._part(number, 0, HEAD).cast("q") for number in range(workers)]

    @classmethod
    def reserve(cls, workers: int, models: int) -> "Board":
        """A new board."""
        return cls(reserve("ftlit-board", workers * _size(ENDPOINTS + PER_MODEL * models)), workers, models)

    def __reduce__(self) -> Any:
        return _received, (DupFd(self.descriptor), self.workers, self.models)

    def _part(self, number: int, begin: int, end: int) -> memoryview:
        return self._memory[number * self._size + begin : number * self._size + end]

    def turn(self) -> AbstractContextManager[None]:
        """Wait until no other worker has its turn."""
        return turn(self.descriptor)

    def numbers(self, number: int) -> SharedNumbers:
        """What a worker has counted."""
        values = HEAD + VALUE * self._count
        return SharedNumbers(self._part(number, values, self._size), self._part(number, HEAD, values).cast("d"))

    def metrics(self, number: int) -> Metrics:
        """The counters of a worker, which are shown together with those of the others."""
        others = [self.numbers(other) for other in range(self.workers) if other != number]
        return Metrics(self.numbers(number), others)

    def note(self, number: int, ready: bool, connections: int = 0) -> None:
        """Note whether a worker takes requests, and how many connections it has."""
        head = self._heads[number]
        head[0], head[1] = ready, connections

    def all_ready(self) -> bool:
        """Whether all workers take requests."""
        return all(head[0] for head in self._heads)

    def fewest(self) -> int:
        """The fewest connections that a worker has which takes requests."""
        return min((head[1] for head in self._heads if head[0]), default=0)


def _size(numbers: int) -> int:
    """Bytes of a worker."""
    return HEAD + numbers * (KEY + VALUE)


def _received(descriptor: Any, workers: int, models: int) -> Board:
    return Board(descriptor.detach(), workers, models)
