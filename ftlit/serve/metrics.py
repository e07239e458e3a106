"""What a server has done so far, in the text format of Prometheus."""

import bisect
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
Labels = tuple[str, ...]


class Histogram:
    """How often values fell into ranges.

    Args:
        bounds: Upper ends of the ranges, in ascending order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """The lines of a metric."""
        below, comma = 0, "," if labels else ""
        for bound, count in zip([*self.bounds, "+Inf"], self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound}"}} {below}'
        yield f"{name}_sum{{{labels}}} {self.total:g}"
        yield f"{name}_count{{{labels}}} {below}"


class Metrics:
    """The counters of a server. Models count from their own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._rows: Counter[Labels] = Counter()
        self._tokens: Counter[Labels] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._batches: dict[str, Histogram] = {}
        self._reloads: Counter[Labels] = Counter()
        self.waiting: dict[str, Callable[[], int]] = {}  # number of rows that wait, for each model

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests[endpoint, str(status)] += 1
            self._seconds.setdefault(endpoint, Histogram(SECONDS)).observe(seconds)

    def rows(self, model: str, answered: int, failed: int) -> None:
        """Count the rows of a batch."""
        with self._lock:
            self._rows[model, "answered"] += answered
            self._rows[model, "failed"] += failed
            self._batches.setdefault(model, Histogram(ROWS)).observe(answered + failed)

    def tokens(self, model: str, read: int, written: int) -> None:
        """Count the tokens of prompts, and of the texts behind them."""
        with self._lock:
            self._tokens[model, "read"] += read
            self._tokens[model, "written"] += written

    def reload(self, model: str, result: str) -> None:
        """Count a newer run that was taken, or could not be."""
        with self._lock:
            self._reloads[model, result] += 1

    def text(self) -> str:
        """All metrics."""
        with self._lock:
            lines = [
                *_counter("ftlit_requests_total", "Requests by their status.", ("endpoint", "status"), self._requests),
                *_counter("ftlit_rows_total", "Rows by model and result.", ("model", "result"), self._rows),
                *_counter(
                    "ftlit_tokens_total", "Tokens that were read and written under /v1.", ("model", "kind"), self._tokens
                ),
                *_counter("ftlit_reloads_total", "Newer runs by model and result.", ("model", "result"), self._reloads),
                *_histogram("ftlit_request_seconds", "Seconds until the answer.", "endpoint", self._seconds),
                *_histogram("ftlit_batch_rows", "Rows that went through a model together.", "model", self._batches),
            ]
        lines += ["# HELP ftlit_waiting_rows Rows that wait for a model.", "# TYPE ftlit_waiting_rows gauge"]
        lines += [f'ftlit_waiting_rows{{model="{name}"}} {count()}' for name, count in self.waiting.items()]
        return "\n".join(lines) + "\n"


def _counter(name: str, description: str, labels: Labels, values: Counter[Labels]) -> Iterable[str]:
    yield from (f"# HELP {name} {description}", f"# TYPE {name} counter")
    for key, value in sorted(values.items()):
        pairs = ",".join(f'{label}="{own}"' for label, own in zip(labels, key, strict=True))
        yield f"{name}{{{pairs}}} {value}"


def _histogram(name: str, description: str, label: str, values: dict[str, Histogram]) -> Iterable[str]:
    yield from (f"# HELP {name} {description}", f"# TYPE {name} histogram")
    for key, histogram in sorted(values.items()):
        yield from histogram.lines(name, f'{label}="{key}"')
