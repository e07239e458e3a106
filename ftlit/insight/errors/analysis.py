"""All that is found about the errors of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.insight.errors.confident import find_label_errors
from ftlit.insight.errors.examples.collect import Examples, read_examples
from ftlit.insight.errors.examples.columns import data_features
from ftlit.insight.errors.slices.features import Feature
from ftlit.insight.errors.slices.search import find_slices
from ftlit.insight.errors.slices.table import slice_table
from ftlit.runs.reading import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

    from ftlit.data.shared.base import TaskData


@dataclass(frozen=True)
class Analysis:
    """What is found about the errors of a run, or of several.

    Args:
        runs: The runs.
        split: The split.
        examples: Its examples.
        features: Properties of the examples, without those of predictions.
        slices: The slices of single properties, from `slice_table`.
        found: The slices that were searched for, from `find_slices`.
        badness: How bad each prediction is, ``(examples,)``: its loss, and less so the probability that other labels have.
        suspected: Labels that are probably wrong, from `find_label_errors`; None if labels have no probabilities.
        notes: What could not be done.
    """

    runs: Sequence[RunFolder]
    split: str
    examples: Examples
    features: Sequence[Feature]
    slices: "DataFrame"
    found: "DataFrame"
    badness: np.ndarray
    suspected: "DataFrame | None"
    notes: Sequence[str] = ()


def analyse(
    runs: Sequence[RunFolder], split: str, data: "TaskData | None", predicates: int, seed: int, notes: Sequence[str] = ()
) -> Analysis:
    """Find where runs fail.

    Args:
        runs: The runs.
        split: The split.
        data: The data of the runs, for their columns and their tokenizer; None if they cannot be read.
        predicates: Largest number of properties of a slice that is searched for.
        seed: Seed of the halves of the search.
        notes: What could not be done so far.

    Raises:
        UserError: Predictions are missing or damaged, or runs do not fit together.
    """
    examples = read_examples(runs, split, data.tokenizer if data else None)
    features = [*examples.inputs, *examples.labels, *(data_features(data, examples.ids) if data else [])]
    table = slice_table([*features, *examples.predictions], examples.losses, examples.groups)
    found = find_slices(features, examples.losses, examples.groups, predicates, seed)
    probabilities = examples.answers.probabilities(len(examples))
    badness, suspected = examples.losses, None
    if probabilities is not None:
        badness, suspected = _badness(examples, probabilities), suspected_labels(examples, probabilities)
    return Analysis(runs, split, examples, features, table, found, badness, suspected, notes)


def _badness(examples: Examples, probabilities: Any) -> np.ndarray:
    """The losses, plus what the right labels lack in probability; losses of right and wrong differ by 1."""
    owners, codes = examples.answers.labels()
    lacking = 1 - np.asarray(probabilities[owners, codes]).ravel()  # of a sparse matrix, whose values these are
    counts = np.bincount(owners, minlength=len(examples))
    return examples.losses + np.bincount(owners, lacking, len(examples)) / np.maximum(counts, 1)


def suspected_labels(examples: Examples, probabilities: Any) -> "DataFrame":
    """The labels that are probably wrong, with the ``id`` of their examples.

    Args:
        examples: The examples.
        probabilities: Probability of each label, ``(examples, labels)``, as a sparse array.
    """
    answers = examples.answers
    owners, codes = answers.labels()
    labels: list[Any] = []
    if answers.single:
        labels = np.array(answers.names, dtype=object)[codes].tolist()
    else:
        parts = np.split(np.array(answers.names, dtype=object)[codes], np.searchsorted(owners, np.arange(1, len(examples))))
        labels = [part.tolist() for part in parts]
    found = find_label_errors(labels, probabilities, answers.names)
    found.insert(0, "id", [examples.ids[i] for i in found["example"]])
    return found
