"""The labels of examples, those that were predicted, and their probabilities, collected a part at a time."""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ftlit.insight.errors.slices.features import Feature, flags
from ftlit.metrics.evidence.rows import Rows
from ftlit.util.label_sets import KEPT_SCORES

NOTHING = "–"  # shown for a label that is missing, or for one that was predicted in vain
FLAGS = 30  # labels that are properties where an example may have several, the commonest ones
Pair = tuple[str | None, str | None]  # a right label and what was predicted in its place; None for nothing


def pairs_of(kind: str, row: Mapping[str, Any]) -> Iterator[Pair]:
    """The right labels of a row with what was predicted in their places.

    Entities are paired by where they begin and end. Labels of a text with several are paired with themselves.
    """
    label: Any = row.get("label")
    said: Any = row["prediction"]
    if kind in ("labels", "relations") and isinstance(label, str):
        yield label, said
    elif kind == "labels":
        yield from _paired({name: name for name in label}, {name: name for name in said})
    elif kind == "tags" and "tags" in row:
        yield from _paired(*({(e["start"], e["end"]): e["label"] for e in found} for found in (label, said)))
    elif kind == "tags":
        yield from zip(label, said, strict=True)


def _paired(label: Mapping[Any, str], said: Mapping[Any, str]) -> Iterator[Pair]:
    for key in {**label, **said}:
        yield label.get(key), said.get(key)


class Answers:
    """The labels and predictions of examples.

    Args:
        kind: Kind of evidence of the predictions.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.single, self.word = kind, True, "label"
        self.codes: dict[str | None, int] = {None: 0}
        self.pairs: list[np.ndarray] = []
        self.scores: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, places: np.ndarray, rows: Rows) -> None:
        """Add predictions of the examples at places; an example may have those of several runs."""
        code = self._code
        found = [
            (place, code(label), code(said))
            for place, row in zip(places.tolist(), rows, strict=True)
            for label, said in pairs_of(self.kind, row)
        ]
        self.single &= all(isinstance(row.get("label"), str) for row in rows)
        if self.kind == "tags":
            self.word = "entity" if "tags" in rows[0] else "tag"
        self.pairs.append(np.array(found, dtype=np.int32).reshape(-1, 3))
        if self.kind in ("labels", "relations"):
            self._add_scores(places, rows)

    def _code(self, name: str | None) -> int:
        return self.codes.setdefault(name, len(self.codes))

    def _add_scores(self, places: np.ndarray, rows: Rows) -> None:
        owners: list[int] = []
        codes: list[int] = []
        values: list[float] = []
        for place, row in zip(places.tolist(), rows, strict=True):
            scores = row.get("scores")
            if not isinstance(scores, dict):
                continue
            names = heapq.nlargest(KEPT_SCORES, scores, scores.__getitem__) if len(scores) > KEPT_SCORES else scores
            owners += [place] * len(names)
            codes += map(self._code, names)
            values += [scores[name] for name in names]
        if owners:
            self.scores.append((np.array(owners, np.int32), np.array(codes, np.int32), np.array(values, np.float32)))

    @property
    def names(self) -> list[str]:
        """The labels by their codes; the first one stands for no label."""
        return [NOTHING if name is None else name for name in self.codes]

    def whole_pairs(self) -> np.ndarray:
        """Example, right label and predicted label of each pair, ``(pairs, 3)``."""
        return np.concatenate(self.pairs) if self.pairs else np.zeros((0, 3), dtype=np.int32)

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Example and code of each right label, in the order of the examples and once for all runs, ``(labels,)`` each."""
        pairs = self.whole_pairs()
        owners, codes = np.unique(pairs[pairs[:, 1] > 0][:, :2], axis=0).T
        return owners, codes

    def probabilities(self, examples: int) -> Any:
        """The mean probability of each label over the runs that predicted an example, ``(examples, labels)``; None without.

        The highest `KEPT_SCORES` of an example are kept, and others are 0.
        """
        from scipy.sparse import coo_matrix, csr_matrix, diags

        if not self.scores:
            return None
        owners, codes, values = (np.concatenate(parts) for parts in zip(*self.scores, strict=True))
        runs = np.zeros(examples)
        for part, _, _ in self.scores:
            runs[np.unique(part)] += 1
        table = coo_matrix((values, (owners, codes)), shape=(examples, len(self.codes))).tocsr()
        return csr_matrix(diags(1 / np.maximum(runs, 1)) @ table)

    def features(self, examples: int, predicted: bool = False) -> list[Feature]:
        """The labels, or the predicted labels, as properties.

        Args:
            examples: Number of examples.
            predicted: Whether to return the predicted ones.
        """
        column, name = (2, f"predicted {self.word}") if predicted else (1, self.word)
        owners, codes = self.whole_pairs()[:, [0, column]].T
        if self.kind not in ("labels", "relations", "tags") or not len(codes):
            return []
        if self.single:
            found = np.zeros(examples, dtype=np.int32)
            found[owners] = codes
            return [Feature(name, found - 1, self.names[1:])]
        counts = np.bincount(codes, minlength=len(self.codes))
        counts[0] = 0
        chosen = [code for code in np.argsort(-counts, kind="stable")[:FLAGS] if counts[code]]
        made = [np.bincount(owners[codes == code], minlength=examples) > 0 for code in chosen]
        return [flags(f"{name} {self.names[code]}", has) for code, has in zip(chosen, made, strict=True) if not has.all()]
