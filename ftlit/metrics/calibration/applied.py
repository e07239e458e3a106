"""What was fitted on validation for the predictions of a run, and the predictions that it changes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ftlit.metrics.calibration.decisions import decided, padded
from ftlit.metrics.calibration.maps import ScoreMap
from ftlit.metrics.spans import entities
from ftlit.util.files import damaged

ABSTAINED, SET = "abstained", "set"  # keys of predictions
Predictions = list[dict[str, Any]]


@dataclass(frozen=True)
class Calibration:
    """What is done with the predictions of a run.

    Args:
        scores: Maps the scores.
        thresholds: From which score on a row gets each label, for rows with any number of labels; None keeps the labels.
        abstain_below: Score below which a row gets no answer; None answers all rows.
        set_above: The model's own score from which on a label belongs to the set of labels among which the right one is; None
            makes no sets. The map does not matter, so that both can be fitted to the same rows.
        set_temperature: What makes the scores that come in the model's own again, if its logits were divided by a temperature.
    """

    scores: ScoreMap = field(default_factory=ScoreMap)
    thresholds: Mapping[str, float] | None = None
    abstain_below: float | None = None
    set_above: float | None = None
    set_temperature: float = 1.0

    @classmethod
    def of(cls, record: Mapping[str, Any], path: Path) -> "Calibration":
        """The calibration that a file holds.

        Args:
            record: Content of the file.
            path: The file, for messages.

        Raises:
            UserError: It is damaged.
        """
        try:
            points, given = record.get("points"), record.get
            scores = ScoreMap(float(given("temperature", 1.0)), points and _rising(points))
            own = float(given("set_temperature", 1.0))
            found = cls(scores, given("thresholds"), given("abstain_below"), given("set_above"), own)
            numbers = [*(found.thresholds or {}).values(), found.abstain_below or 0.0, found.set_above or 0.0]
            temperatures = [scores.temperature, found.set_temperature]
            if not all(map(math.isfinite, [*temperatures, *numbers])) or min(temperatures) <= 0:
                raise ValueError("a number in it is out of range")
        except (TypeError, ValueError, AttributeError) as error:
            raise damaged(path, f"it is no calibration ({error})") from error
        return found

    @property
    def record(self) -> dict[str, Any]:
        """The content of a file from which `of` returns the same."""
        points = self.scores.points
        return {
            "temperature": self.scores.temperature,
            "points": points and [list(part) for part in points],
            "thresholds": self.thresholds and dict(self.thresholds),
            "abstain_below": self.abstain_below,
            "set_above": self.set_above,
            "set_temperature": self.set_temperature,
        }

    def without_temperature(self) -> "Calibration":
        """The same for a model whose logits are divided by the temperature already."""
        own = 1 / self.scores.temperature if self.set_above is not None else 1.0
        return replace(self, scores=replace(self.scores, temperature=1.0), set_temperature=own)

    def __call__(self, predictions: Predictions) -> Predictions:
        """Change predictions, which have the scores of all labels, by the form of these scores."""
        scores = predictions[0].get("scores") if predictions else None
        if isinstance(scores, list):
            return self._choices(predictions)
        if not isinstance(scores, dict):
            return predictions
        words = any(isinstance(values, list) for values in scores.values())
        return self._words(predictions) if words else self._labels(predictions)

    # By the form of the scores

    def _labels(self, predictions: Predictions) -> Predictions:
        names, several = [*predictions[0]["scores"]], isinstance(predictions[0]["prediction"], list)
        given = np.array([[*row["scores"].values()] for row in predictions], dtype=float)
        values = self.scores(given, several)
        scored = [
            {**row, "scores": dict(zip(names, scores, strict=True))}
            for row, scores in zip(predictions, values.tolist(), strict=True)
        ]
        if several:
            return self._several(scored, names, values)
        rows = [{**row, "score": row["scores"][row["prediction"]]} for row in scored]
        return [self._abstaining(row, row["score"]) for row in self._with_sets(rows, given, names)]

    def _several(self, scored: Predictions, names: list[str], values: np.ndarray) -> Predictions:
        if self.thresholds is not None:
            scored = [{**row, "prediction": self._over(row["scores"])} for row in scored]
        said = np.array([[name in row["prediction"] for name in names] for row in scored])
        least = decided(values, said).min(1).tolist()
        rows = [{**row, "score": [row["scores"][name] for name in row["prediction"]]} for row in scored]
        return [self._abstaining(row, sure) for row, sure in zip(rows, least, strict=True)]

    def _over(self, scores: Mapping[str, float]) -> list[str]:
        assert self.thresholds is not None
        return [name for name, score in scores.items() if score >= self.thresholds.get(name, 0.5)]

    def _choices(self, predictions: Predictions) -> Predictions:
        given = padded([row["scores"] for row in predictions])
        values = self.scores(given, False).tolist()
        scored = [{**row, "scores": own[: len(row["scores"])]} for row, own in zip(predictions, values, strict=True)]
        rows = [{**row, "score": row["scores"][row["index"]]} for row in scored]
        return [self._abstaining(row, row["score"]) for row in self._with_sets(rows, given, range(given.shape[1]))]

    def _words(self, predictions: Predictions) -> Predictions:
        names = [*predictions[0]["scores"]]
        columns = [[*chain.from_iterable(row["scores"][name] for row in predictions)] for name in names]
        values = self.scores(np.array(columns, dtype=float).T, False)
        ends = np.cumsum([0, *(len(row["scores"][names[0]]) for row in predictions)]).tolist()
        parts = [values[start:end] for start, end in pairwise(ends)]
        return [_tagged(row, names, part) for row, part in zip(predictions, parts, strict=True)]

    # What follows from the scores of a row

    def _with_sets(self, rows: Predictions, given: np.ndarray, names: Sequence[Any]) -> Predictions:
        """Rows with one answer and its set, which the scores that came in decide, ``(rows, labels)``."""
        if self.set_above is None:
            return rows
        found = []
        for row, scores in zip(rows, ScoreMap(self.set_temperature)(given, False).tolist(), strict=True):
            named = zip(names, scores[: len(row["scores"])], strict=False)  # rows may have fewer choices than others
            found.append({**row, SET: [name for name, score in named if score >= self.set_above]})
        return found

    def _abstaining(self, row: dict[str, Any], sure: float) -> dict[str, Any]:
        if self.abstain_below is None:
            return row
        low = sure < self.abstain_below
        return {**row, **({"prediction": None} if low else {}), ABSTAINED: low}


def _rising(points: Any) -> tuple[list[float], list[float]]:
    places, values = ([float(value) for value in part] for part in points)
    inside = all(0 <= value <= 1 for value in (*places, *values))
    if (
        len(places) != len(values)
        or not places
        or not inside
        or any(b < a for part in (places, values) for a, b in pairwise(part))
    ):
        raise ValueError("its points do not rise from 0 to 1")
    return places, values


def _tagged(row: dict[str, Any], names: list[str], values: np.ndarray) -> dict[str, Any]:
    """A row of words with other scores ``(words, labels)``: those of its tags, or the means of those of its entities."""
    tags = row.get("tags", row["prediction"])
    own = values[np.arange(len(tags)), [names.index(tag) for tag in tags]].tolist() if tags else []
    row = {**row, "scores": dict(zip(names, values.T.tolist(), strict=True))}
    if "tags" not in row:
        return {**row, "score": own}
    means = [sum(own[first:last]) / (last - first) for _, first, last in entities(tags)]
    return {**row, "prediction": [{**one, "score": score} for one, score in zip(row["prediction"], means, strict=True)]}
