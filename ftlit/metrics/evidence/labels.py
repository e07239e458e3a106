"""What examples add to the metrics of text classification, relation extraction and multiple choice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import CLASS_SCORES, ClassAveraging, Parts, Sums, classes, matthews_score, mean_of, pooled
from ftlit.metrics.relations import DIRECTION, NEGATIVE_LABELS


def is_right(row: Mapping[str, Any]) -> bool:
    """Whether the prediction of a row is its label; several labels of a text are compared as a set."""
    return bool(_plain(row["prediction"]) == _plain(row["label"]))


def right(runs: Sequence[Rows]) -> Sums:
    """The share of examples whose prediction is the right answer."""
    return mean_of([[is_right(row) for row in rows] for rows in runs])


def _plain(answer: Any) -> Any:
    return frozenset(answer) if isinstance(answer, list) else answer


def label_names(runs: Sequence[Rows]) -> list[str]:
    """The labels that the models of the runs know; those in the rows if not all scores were saved."""
    known = dict.fromkeys(name for rows in runs for name in rows[0].get("scores", ()))
    found = {name for rows in runs for row in rows for key in ("label", "prediction") for name in _held(row[key])}
    return list(known) if found <= known.keys() else sorted(found)


def _held(answer: Any) -> list[str]:
    return answer if isinstance(answer, list) else [answer]


def members(runs: Sequence[Rows], key: str, names: Sequence[str]) -> np.ndarray:
    """Whether each answer contains each label, ``(runs, examples, labels)``."""
    places = {name: i for i, name in enumerate(names)}
    found = np.zeros((len(runs), len(runs[0]), len(places)), dtype=bool)
    for i, rows in enumerate(runs):
        pairs = [(j, places[name]) for j, row in enumerate(rows) for name in _held(row[key])]
        if pairs:
            found[i][tuple(np.array(pairs).T)] = True
    return found


def text_classification(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Accuracy, averages of precision, recall and F1, and Matthews' correlation, as defined by scikit-learn."""
    several = isinstance(runs[0][0]["label"], list)
    kind, _, average = metric.partition("_")
    same = (kind in CLASS_SCORES and average == "micro") or metric == "recall_weighted"
    if metric == "accuracy" or (same and not several):
        return right(runs)  # with one label per text, these metrics equal the accuracy
    if metric != "mcc" and (kind not in CLASS_SCORES or average not in ("macro", "micro", "weighted")):
        return None
    names = label_names(runs)
    said, true = members(runs, "prediction", names), members(runs, "label", names)
    parts = (said & true, said & ~true, ~said & true)
    if metric == "mcc":
        return _matthews(parts, ~said & ~true) if several else Sums(np.concatenate(parts, -1) * 1.0, matthews_score)
    if average == "micro":
        return pooled(parts, CLASS_SCORES[kind])
    macro: ClassAveraging = "equal" if several else "present"
    return classes(parts, CLASS_SCORES[kind], macro if average == "macro" else "support")


def _matthews(parts: Parts, rejected: np.ndarray) -> Sums:
    """Matthews' correlation with several labels per text: each label of each text is a binary decision."""
    hit, wrong, miss, no = (part.sum(-1) for part in (*parts, rejected))
    return Sums(np.stack([hit, no, wrong, miss, miss, wrong], -1).astype(float), matthews_score)


def relation_extraction(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Accuracy, the macro F1 of SemEval-2010 Task 8, and the micro scores of TACRED, as in `ftlit.metrics.relations`."""
    if metric == "accuracy":
        return right(runs)
    kind, _, average = metric.partition("_")
    if kind not in CLASS_SCORES or (average != "micro" and metric != "f1_macro"):
        return None
    parts = _relation_counts(runs, settings.get("negative_label"))
    return pooled(parts, CLASS_SCORES[kind]) if average == "micro" else classes(parts, "f1", "true")


def _relation_counts(runs: Sequence[Rows], negative: str | None) -> Parts:
    """Hits, false positives and misses of each relation, both directions together, without the negative relation."""
    names = label_names(runs)
    negative = negative or next((name for name in NEGATIVE_LABELS if name in names), None)
    kinds = sorted({DIRECTION.sub("", name) for name in names})
    bare = [[{key: DIRECTION.sub("", row[key]) for key in ("label", "prediction")} for row in rows] for rows in runs]
    said, true = members(bare, "prediction", kinds), members(bare, "label", kinds)
    exact = np.array([[row["prediction"] == row["label"] for row in rows] for rows in runs])[..., None]
    kept = [i for i, name in enumerate(kinds) if name != negative]
    hits = (said & true & exact)[..., kept]
    return hits, said[..., kept] & ~hits, true[..., kept] & ~hits


def multiple_choice(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Accuracy."""
    return right(runs) if metric == "accuracy" else None
