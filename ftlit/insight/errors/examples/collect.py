"""The examples of a split, from the predictions of one run or several."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.errors import UserError
from ftlit.insight.errors.examples.answers import Answers
from ftlit.insight.errors.examples.inputs import Inputs
from ftlit.insight.errors.examples.measure import Measure, measure_of
from ftlit.insight.errors.examples.reading import PredictionFile
from ftlit.insight.errors.slices.features import Feature
from ftlit.runs.reading import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Examples:
    """The examples of a split.

    Args:
        measure: How wrong a prediction is.
        files: The predictions of each run.
        ids: Id of each example.
        losses: Mean loss of each example over the runs that have it, ``(examples,)``.
        groups: The document of each example, ``(examples,)``; None if no row names one.
        places: The file of each example, and the place in it, ``(examples, 2)``.
        inputs: Properties of the inputs.
        answers: The labels and predictions.
    """

    measure: Measure
    files: Sequence[PredictionFile]
    ids: list[str]
    losses: np.ndarray
    groups: np.ndarray | None
    places: np.ndarray
    inputs: list[Feature]
    answers: Answers

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[Feature]:
        """The right labels as properties."""
        return self.answers.features(len(self))

    @property
    def predictions(self) -> list[Feature]:
        """The predicted labels as properties; none if examples have predictions of several runs."""
        return [] if len(self.files) > 1 else self.answers.features(len(self), predicted=True)

    def rows(self, chosen: Sequence[int]) -> list[dict[str, Any]]:
        """The predictions of some examples, each by the first run that has it."""
        found: dict[int, dict[str, Any]] = {}
        for number, file in enumerate(self.files):
            own = [i for i in chosen if self.places[i, 0] == number]
            found |= dict(zip(own, file.rows_at(self.places[own, 1].tolist()), strict=True))
        return [found[i] for i in chosen]


def read_examples(runs: Sequence[RunFolder], split: str, tokenizer: "PreTrainedTokenizerBase | None" = None) -> Examples:
    """Read the predictions of runs, which may have the same examples, as seeds have, or others, as folds have.

    Args:
        runs: The runs.
        split: The split.
        tokenizer: The tokenizer of their backbone, to count unknown tokens.

    Raises:
        UserError: Predictions are missing or damaged, or the runs differ in their task or in the right answers.
    """
    files = [PredictionFile(run, split) for run in runs]
    if odd := next((run for run in runs if run.record.get("evidence") != runs[0].record.get("evidence")), None):
        raise UserError(
            f"{runs[0].folder} and {odd.folder} are runs of the tasks {runs[0].record.get('task')} and "
            f"{odd.record.get('task')}, whose predictions cannot be joined"
        )
    measure, found = None, _Found(runs[0].record.get("evidence", ""), tokenizer, len(runs) > 1)
    for number, file in enumerate(files):
        for places, rows in file.chunks():
            measure = measure or measure_of(runs[0], split, rows)
            found.add(file, number, places, rows, measure)
    assert measure is not None
    return found.examples(measure, files)


class _Found:
    """What has been read so far."""

    def __init__(self, kind: str, tokenizer: "PreTrainedTokenizerBase | None", several: bool) -> None:
        self.inputs, self.answers, self.several = Inputs(tokenizer), Answers(kind), several
        self.ids: list[str] = []
        self.groups: list[Any] = []
        self.places: list[np.ndarray] = []
        self.losses: list[tuple[np.ndarray, np.ndarray]] = []
        self.known: dict[tuple[str, int], tuple[int, int]] = {}
        self.seen: Counter[tuple[int, str]] = Counter()

    def add(self, file: PredictionFile, number: int, places: list[int], rows: list[dict[str, Any]], measure: Measure) -> None:
        """Add rows of a file."""
        owners, new = [], []
        for i, row in enumerate(rows):
            owner = self._owner(file, number, row)
            owners.append(owner)
            if owner == len(self.ids):
                self.ids.append(str(row["id"]))
                self.groups.append(row.get("group"))
                new.append(i)
        self.places.append(np.array([(number, places[i]) for i in new], dtype=np.int64).reshape(-1, 2))
        self.losses.append((np.array(owners), measure.losses(rows)))
        self.inputs.add([rows[i] for i in new])
        self.answers.add(np.array(owners), rows)

    def _owner(self, file: PredictionFile, number: int, row: dict[str, Any]) -> int:
        """The position of a row's example; that of the next new one if it has not been seen."""
        if not self.several:
            return len(self.ids)
        id_ = str(row["id"])
        key, given = (id_, self.seen[number, id_]), hash(repr(row.get("label")))
        self.seen[number, id_] += 1
        owner, known = self.known.setdefault(key, (len(self.ids), given))
        if known != given:
            raise UserError(
                f"example {id_!r} has another right answer in {file.run.folder} than in a run before it; give runs on the "
                "same data"
            )
        return owner

    def examples(self, measure: Measure, files: Sequence[PredictionFile]) -> Examples:
        """All that was read."""
        owners, values = (np.concatenate(parts) for parts in zip(*self.losses, strict=True))
        count = len(self.ids)
        losses = np.bincount(owners, values, count) / np.bincount(owners, minlength=count)
        places = np.concatenate(self.places)
        return Examples(measure, files, self.ids, losses, self._documents(), places, self.inputs.features(), self.answers)

    def _documents(self) -> np.ndarray | None:
        if all(group is None for group in self.groups):
            return None
        named = [("row", i) if group is None else ("group", group) for i, group in enumerate(self.groups)]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(named))}
        return np.array([numbers[name] for name in named])
