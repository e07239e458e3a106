"""What sentences add to the metrics of token classification. Sentences are resampled as a whole, not word by word."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ftlit.metrics.entities import covered_words, located_words
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import CLASS_SCORES, Parts, Sums, classes, mean_of, pooled
from ftlit.metrics.spans import iob2_tags

Change = tuple[int, str]  # 0 for a hit, 1 for a false positive, 2 for a miss; and the type


def token_classification(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Scores of entities as in `ftlit.metrics.spans`, or of single words for tasks without spans; accuracy of words."""
    spans = "tags" in runs[0][0]
    if metric == "accuracy":
        return _accuracy(runs, spans)
    if metric in CLASS_SCORES and spans:
        return pooled(_counts(runs, spans), CLASS_SCORES[metric])
    if metric in ("f1_macro", "f1_weighted"):
        return classes(_counts(runs, spans), "f1", "present" if metric == "f1_macro" else "support")
    return None


def is_right(row: Mapping[str, Any]) -> bool:
    """Whether all entities of a sentence, or all tags, were found and nothing else."""
    if "tags" not in row:
        return bool(row["label"] == row["prediction"])
    found, true = ({(e["label"], e["start"], e["end"]) for e in row[key]} for key in ("prediction", "label"))
    return found == true


def _counts(runs: Sequence[Rows], spans: bool) -> Parts:
    """Hits, false positives and misses, ``(runs, examples, types)`` each, for all types in any run."""
    read = _entity_changes if spans else _tag_changes
    changes = [[list(read(row)) for row in rows] for rows in runs]
    names = sorted({name for rows in changes for row in rows for _, name in row})
    places = {name: i for i, name in enumerate(names)}
    counts = np.zeros((3, len(runs), len(runs[0]), len(names)))
    for i, rows in enumerate(changes):
        for j, row in enumerate(rows):
            for part, name in row:
                counts[part, i, j, places[name]] += 1
    return counts[0], counts[1], counts[2]


def _entity_changes(row: dict[str, Any]) -> Iterator[Change]:
    found, true = ({(e["label"], e["start"], e["end"]) for e in row[key]} for key in ("prediction", "label"))
    for part, entities in enumerate((found & true, found - true, true - found)):
        for label, *_ in entities:
            yield part, label


def _tag_changes(row: dict[str, Any]) -> Iterator[Change]:
    for found, true in zip(row["prediction"], row["label"], strict=True):
        if found == true:
            yield 0, true
        else:
            yield 1, found
            yield 2, true


def _accuracy(runs: Sequence[Rows], spans: bool) -> Sums:
    true = [right_tags(row) if spans else row["label"] for row in runs[0]]
    key = "tags" if spans else "prediction"
    same = [
        [sum(a == b for a, b in zip(row[key], tags, strict=True)) for row, tags in zip(rows, true, strict=True)]
        for rows in runs
    ]
    return mean_of(same, [[len(tags) for tags in true]] * len(runs))


def right_tags(row: dict[str, Any]) -> list[str]:
    """The tags of a sentence's true entities; its input is the first column after the id."""
    given = next(value for key, value in row.items() if key != "id")
    _, offsets = located_words(given)
    spans = [(e["label"], *covered_words(e["start"], e["end"], offsets)) for e in row["label"]]
    return iob2_tags(spans, len(offsets))
