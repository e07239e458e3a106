"""What a server has done so far, in the text format of Prometheus."""

import bisect
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
Name = tuple[str, ...]  # of a number: its metric, and the values of its labels
# Names, descriptions and labels of the metrics.
REQUESTS = ("ftlit_requests_total", "Requests by their status.", ("endpoint", "status"))
ANSWERED = ("ftlit_rows_total", "Rows by model and result.", ("model", "result"))
TOKENS = ("ftlit_tokens_total", "Tokens that were read and written under /v1.", ("model", "kind"))
RELOADS = ("ftlit_reloads_total", "Newer runs by model and result.", ("model", "result"))
DURATION = ("ftlit_request_seconds", "Seconds until the answer.", ("endpoint",))
BATCHES = ("ftlit_batch_rows", "Rows that went through a model together.", ("model",))
WAITING = ("ftlit_waiting_rows", "Rows that wait for a model.", ("model",))
COUNTERS, HISTOGRAMS = (REQUESTS, ANSWERED, TOKENS, RELOADS), ((DURATION, SECONDS), (BATCHES, ROWS))


class Numbers:
    """Numbers that are counted up or set."""

    def __init__(self) -> None:
        self._values = defaultdict[Name, float](float)

    def add(self, name: Name, number: float = 1) -> None:
        """Count up a number, which is 0 at first."""
        self._values[name] += number

    def set(self, name: Name, number: float) -> None:
        """Set a number."""
        self._values[name] = number

    def items(self) -> Iterable[tuple[Name, float]]:
        """All numbers."""
        return self._values.items()


class Metrics:
    """The counters of a server. Models count from their own threads.

    Args:
        own: Where this process counts.
        others: The numbers of the other processes of the server.
    """

    def __init__(self, own: Numbers | None = None, others: Sequence[Numbers] = ()) -> None:
        self._lock, self._own, self._others = threading.Lock(), own or Numbers(), others
        self.waiting: dict[str, Callable[[], int]] = {}  # number of rows that wait, for each model

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._own.add((REQUESTS[0], endpoint, str(status)))
            self._observe(DURATION[0], endpoint, seconds, SECONDS)

    def rows(self, model: str, answered: int, failed: int) -> None:
        """Count the rows of a batch."""
        with self._lock:
            self._own.add((ANSWERED[0], model, "answered"), answered)
            self._own.add((ANSWERED[0], model, "failed"), failed)
            self._observe(BATCHES[0], model, answered + failed, ROWS)

    def tokens(self, model: str, read: int, written: int) -> None:
        """Count the tokens of prompts, and of the texts behind them."""
        with self._lock:
            self._own.add((TOKENS[0], model, "read"), read)
            self._own.add((TOKENS[0], model, "written"), written)

    def reload(self, model: str, result: str) -> None:
        """Count a newer run that was taken, or could not be."""
        with self._lock:
            self._own.add((RELOADS[0], model, result))

    def _observe(self, metric: str, label: str, value: float, bounds: Sequence[float]) -> None:
        """Count a value into its range of a histogram."""
        self._own.add((metric, label, _bound(bounds, bisect.bisect_left(bounds, value))))
        self._own.add((f"{metric}_sum", label), value)

    def publish(self) -> None:
        """Note how many rows wait at present."""
        with self._lock:
            for model, count in self.waiting.items():
                self._own.set((WAITING[0], model), count())

    def text(self) -> str:
        """All metrics, summed over the processes of the server."""
        self.publish()
        found = defaultdict[Name, float](float)
        with self._lock:
            for numbers in (self._own, *self._others):
                for name, number in numbers.items():
                    found[name] += number
        lines = [line for metric in COUNTERS for line in _counter(*metric, "counter", found)]
        lines += [line for metric, bounds in HISTOGRAMS for line in _histogram(*metric, bounds, found)]
        return "\n".join([*lines, *_counter(*WAITING, "gauge", found)]) + "\n"


def _bound(bounds: Sequence[float], i: int) -> str:
    return str(bounds[i]) if i < len(bounds) else "+Inf"


def _counter(metric: str, description: str, labels: Name, kind: str, values: Mapping[Name, float]) -> Iterable[str]:
    yield from (f"# HELP {metric} {description}", f"# TYPE {metric} {kind}")
    for name in sorted(name for name in values if name[0] == metric):
        pairs = ",".join(f'{label}="{own}"' for label, own in zip(labels, name[1:], strict=True))
        yield f"{metric}{{{pairs}}} {math.trunc(values[name])}"


def _histogram(
    metric: str, description: str, labels: Name, bounds: Sequence[float], values: Mapping[Name, float]
) -> Iterable[str]:
    yield from (f"# HELP {metric} {description}", f"# TYPE {metric} histogram")
    for own in sorted({name[1] for name in values if name[0] == metric}):
        label = f'{labels[0]}="{own}"'
        ends = [_bound(bounds, i) for i in range(len(bounds) + 1)]
        below = [*accumulate(math.trunc(values.get((metric, own, end), 0)) for end in ends)]
        yield from (f'{metric}_bucket{{{label},le="{end}"}} {count}' for end, count in zip(ends, below, strict=True))
        yield from (f"{metric}_sum{{{label}}} {values[f'{metric}_sum', own]:g}", f"{metric}_count{{{label}}} {below[-1]}")
