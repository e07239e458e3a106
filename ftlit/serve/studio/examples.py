"""The predictions of a split: filtered, sorted and searched without reading the file again."""

import json
import math
import os
import threading
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ftlit.metrics.evidence import EVIDENCE_KINDS
from ftlit.serve.studio.tree import stamp
from ftlit.util.files import damaged

ADDED = {"id", "label", "prediction", "score", "scores", "tags", "words", "start", "end", "null_score", "index", "targets"}
KEPT = 3  # files in memory
MOST_CHOICES = 100  # labels that are offered
SORTS = {"row": "order of the file", "unsure": "least sure first", "sure": "most sure first", "far": "largest error first"}


@dataclass(frozen=True)
class Wanted:
    """Which examples are shown.

    Args:
        only: `wrong`, `right` or `all`.
        label: The right answer; empty for any.
        prediction: The prediction; empty for any.
        words: Words in the example.
        sort: A key of `SORTS`.
    """

    only: str = "all"
    label: str = ""
    prediction: str = ""
    words: str = ""
    sort: str = "row"


class Example(NamedTuple):
    """An example as it is shown.

    Attributes:
        id: Its id.
        right: Whether the prediction is right; None if predictions are not simply right or wrong.
        label: The right answer.
        prediction: The prediction.
        score: The score of the prediction, as a text.
        inputs: What the model was given, by column.
    """

    id: str
    right: bool | None
    label: str
    prediction: str
    score: str
    inputs: dict[str, str]


class Examples:
    """The predictions of a split.

    Args:
        path: The file.
        kind: The kind of evidence that they are.

    Raises:
        UserError: A line of the file is broken.
    """

    def __init__(self, path: Path, kind: str | None) -> None:
        self.path, self.file = path, path.open("rb")
        self.right_of = EVIDENCE_KINDS[kind].is_right if kind in EVIDENCE_KINDS else None
        self.ends, self.right = array("q"), bytearray()  # where the lines end, in bytes
        self.numbers, self.errors = array("d"), array("d")
        self.labels, self.predictions, self.texts = list[str](), list[str](), list[str]()
        self._shared: dict[str, str] = {}  # each text of a label once
        at = 0
        for number, line in enumerate(self.file, start=1):
            self._add(number, line)
            at += len(line)
            self.ends.append(at)

    def _add(self, number: int, line: bytes) -> None:
        try:
            row = json.loads(line)
            label, prediction = (self._text(row.get(key)) for key in ("label", "prediction"))
            self.right.append(bool(self.right_of(row)) if self.right_of else False)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise damaged(self.path, f"line {number} is not a prediction") from error
        self.numbers.append(_score(row))
        self.errors.append(_error(row))
        self.labels.append(label)
        self.predictions.append(prediction)
        self.texts.append("\n".join((*_inputs(row).values(), label, prediction)).lower())

    def _text(self, value: Any) -> str:
        found = shown(value)
        return self._shared.setdefault(found, found)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def judged(self) -> bool:
        """Whether predictions are right or wrong."""
        return self.right_of is not None

    def sorts(self) -> dict[str, str]:
        """The orders that make sense."""
        numbers = {key for key in ("sure", "unsure") if any(map(math.isfinite, self.numbers))}
        known = {"row", *numbers, *(["far"] if any(map(math.isfinite, self.errors)) else [])}
        return {key: name for key, name in SORTS.items() if key in known}

    def choices(self, key: str) -> list[str]:
        """The commonest labels or predictions, if they are few; none if they are texts of all kinds.

        Args:
            key: `label` or `prediction`.
        """
        counts = Counter(self.labels if key == "label" else self.predictions)
        few = len(counts) <= MOST_CHOICES and len(counts) < len(self) / 2
        return [name for name, _ in counts.most_common()] if few else []

    def find(self, wanted: Wanted) -> list[int]:
        """The numbers of the examples that are wanted, in their order."""
        found = list(range(len(self)))
        if wanted.only != "all" and self.judged:
            found = [i for i in found if self.right[i] == (wanted.only == "right")]
        if wanted.label:
            found = [i for i in found if self.labels[i] == wanted.label]
        if wanted.prediction:
            found = [i for i in found if self.predictions[i] == wanted.prediction]
        for word in wanted.words.lower().split():
            found = [i for i in found if word in self.texts[i]]
        key = self._key(wanted.sort)
        return found if key is None else sorted(found, key=key)

    def _key(self, sort: str) -> Callable[[int], float] | None:
        """What examples are sorted by; those without a number are last."""
        values, sign = {"sure": (self.numbers, -1), "unsure": (self.numbers, 1), "far": (self.errors, -1)}.get(sort, (None, 1))
        if values is None:
            return None
        return lambda i: math.inf if math.isnan(values[i]) else sign * values[i]

    def example(self, i: int) -> Example:
        """An example, read from the file."""
        begin = self.ends[i - 1] if i else 0
        row = json.loads(
            os.pread(self.file.fileno(), self.ends[i] - begin, begin)
        )  # of this file, even if another took its place
        right = bool(self.right[i]) if self.judged else None
        score = "" if math.isnan(self.numbers[i]) else f"{self.numbers[i]:.3f}"
        return Example(shown(row.get("id")), right, self.labels[i], self.predictions[i], score, _inputs(row))


def _inputs(row: dict[str, Any]) -> dict[str, str]:
    """What the model was given, by column."""
    return {key: shown(value) for key, value in row.items() if key not in ADDED}


def _score(row: dict[str, Any]) -> float:
    score = row.get("score")
    return float(score) if isinstance(score, int | float) else math.nan


def _error(row: dict[str, Any]) -> float:
    """How far a number is from the right one."""
    pair = [row.get(key) for key in ("label", "prediction")]
    return abs(pair[0] - pair[1]) if all(isinstance(value, int | float) for value in pair) else math.nan  # type: ignore[operator]


def shown(value: Any) -> str:
    """A value of a prediction as a text: several labels in one line, and entities with their words."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ", ".join(value) if len(value) < 2 or max(map(len, value)) < 40 else "\n".join(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) and {"label", "text"} <= part.keys() for part in value):
        return ", ".join(f"{part['text']} ({part['label']})" for part in value)
    if value is None or value == []:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Shelf:
    """The predictions that were read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, tuple[Any, Examples]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path, kind: str | None) -> Examples:
        """The predictions of a file, which is read again if it has changed.

        Raises:
            UserError: A line of the file is broken.
        """
        with self._lock:
            now = (stamp(path), kind)
            if path not in self._kept or self._kept[path][0] != now:
                self._kept[path] = (now, Examples(path, kind))
            self._kept.move_to_end(path)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[path][1]
