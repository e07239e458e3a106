"""The tables of the report on errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftlit.insight.errors.analysis import Analysis
from ftlit.insight.errors.examples.answers import NOTHING
from ftlit.insight.errors.examples.measure import Measure
from ftlit.insight.errors.slices.search import members
from ftlit.metrics.evidence.rows import answer_text, input_text
from ftlit.util.label_sets import SHOWN_LABELS
from ftlit.util.render.document import Fold, Part, Table, Text
from ftlit.util.render.formats import interval, number, p_text, plural, share, shortened

SHOWN = 40  # slices of a table
SHOWN_WORST = 20
EXAMPLES = 3  # of a slice, or of a confusion
FOLDS = 10  # confusions with examples
SUSPECTED = 50  # labels


@dataclass(frozen=True)
class Values:
    """Writes losses as values of a measure; error rates are percentages."""

    measure: Measure

    @property
    def name(self) -> str:
        """Name of the measure."""
        return self.measure.name

    @property
    def unit(self) -> str:
        """What a number of a difference is counted in, in parentheses."""
        return " (points)" if self.measure.binary else ""

    def scaled(self, loss: float) -> float:
        """A loss as a number of the measure."""
        return loss * self.measure.sign * (100 if self.measure.binary else 1)

    def ends(self, low: float, high: float) -> tuple[float, float]:
        """Both ends of an interval of losses."""
        one, other = sorted((self.scaled(low), self.scaled(high)))
        return one, other

    def __call__(self, loss: float, sign: bool = False) -> str:
        text = number(self.scaled(loss), 1 if self.measure.binary else 3, sign)
        return f"{text}%" if self.measure.binary and not sign else text

    def interval(self, low: float, high: float) -> str:
        """An interval of a difference."""
        return interval(*self.ends(low, high), 1 if self.measure.binary else 3, sign=True)


def found_table(analysis: Analysis) -> Table | None:
    """The slices that were searched for and confirmed; None if there are none."""
    value, confirmed = Values(analysis.examples.measure), analysis.found[analysis.found["confirmed"]]
    if not len(confirmed):
        return None
    columns = ("slice", "examples", "share", value.name, "rest", f"difference{value.unit}", "95% interval", "adjusted p")
    rows = [
        (
            row["slice"],
            f"{row['size']:,}",
            share(row["share"]),
            value(row["mean"]),
            value(row["rest"]),
            value(row["difference"], sign=True),
            value.interval(row["low"], row["high"]),
            p_text(row["p_adjusted"]),
        )
        for row in confirmed.to_dict("records")
    ]
    notes = [
        "Found on a random half of the examples among all conjunctions; the numbers but for the first two are those of the "
        f"other half, which had no part in the search. {len(analysis.found)} slices were tested there, each without the "
        "examples of those before it, and p is multiplied by this number (Bonferroni)."
    ]
    return Table("Slices that are worse than the rest", columns, rows, (0,), notes)


def slice_examples(analysis: Analysis) -> list[Fold]:
    """The worst predictions in each confirmed slice."""
    folds = []
    for row in analysis.found[analysis.found["confirmed"]].to_dict("records"):
        inside = np.flatnonzero(members(analysis.features, row["predicates"]))
        chosen = inside[_worst(analysis, inside)[:EXAMPLES]]
        folds.append(Fold(f"Examples of {row['slice']}", [_examples(analysis, chosen.tolist(), "Worst predictions")]))
    return folds


def slices_table(analysis: Analysis, limit: int = SHOWN) -> Table | None:
    """The slices of single properties with the smallest p; None if no property divides the examples."""
    value, table = Values(analysis.examples.measure), analysis.slices
    if not len(table):
        return None
    columns = ("slice", "examples", value.name, "rest", f"difference{value.unit}", "95% interval", "adjusted p")
    rows = [
        (
            row["slice"],
            f"{row['size']:,}",
            value(row["mean"]),
            value(row["rest"]),
            value(row["difference"], sign=True),
            value.interval(row["low"], row["high"]),
            p_text(row["p_adjusted"]),
        )
        for row in table.head(limit).to_dict("records")
    ]
    shown = f"The {len(rows)} of {len(table):,} slices with the smallest p. " if len(rows) < len(table) else ""
    notes = [
        f"{shown}P-values are adjusted for all {len(table):,} slices (Benjamini and Hochberg), so that about 5% of those with "
        "p ≤ 0.05 are false; the intervals are not."
    ]
    return Table("Slices by one property", columns, rows, (0,), notes)


def confusion_parts(analysis: Analysis) -> list[Part]:
    """The labels that are confused, with examples."""
    answers, pairs = analysis.examples.answers, analysis.examples.answers.whole_pairs()
    wrong = pairs[pairs[:, 1] != pairs[:, 2]]
    if not len(wrong):
        return []
    names = answers.names
    keys = wrong[:, 1].astype(np.int64) * len(names) + wrong[:, 2]
    found, counts = np.unique(keys, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:SHOWN_LABELS]
    ranked = zip(found[order].tolist(), counts[order].tolist(), strict=True)
    commonest = [(names[key // len(names)], names[key % len(names)], count, key) for key, count in ranked]
    parts: list[Part] = []
    if answers.single and len(names) - 1 <= SHOWN_LABELS:
        parts.append(_matrix(pairs, names))
    rows = [(true, said, f"{count:,}", share(count / len(wrong))) for true, said, count, _ in commonest]
    more = f"The commonest of {len(found):,}. " if len(found) > len(rows) else ""
    notes = [f"{more}{NOTHING} stands for no label, or no entity, in this place."] if not answers.single else [more.strip()]
    columns, notes = ("right", "predicted", "count", "of all"), [note for note in notes if note]
    parts.append(Table("Commonest confusions", columns, rows, (0, 1), notes))
    for true, said, _, key in commonest[:FOLDS]:
        chosen = np.unique(wrong[keys == key, 0])[:EXAMPLES].tolist()
        parts.append(Fold(f"{true} taken for {said}", [_examples(analysis, chosen, "Examples")]))
    return parts


def _matrix(pairs: np.ndarray, names: Sequence[str]) -> Table:
    size = len(names)
    counts = np.bincount(pairs[:, 1].astype(int) * size + pairs[:, 2], minlength=size * size).reshape(size, size)
    order = sorted(range(1, size), key=names.__getitem__)
    rows = [(names[i], *(f"{counts[i, j]:,}" for j in order)) for i in order]
    note = "Rows are right labels, columns are predicted ones; runs are added up."
    return Table("Confusion matrix", ("", *(names[j] for j in order)), rows, (0,), [note])


def worst_table(analysis: Analysis) -> list[Part]:
    """The predictions with the highest loss, or those that are wrong and surest."""
    everything = np.arange(len(analysis.examples))
    chosen = _worst(analysis, everything)[:SHOWN_WORST]
    chosen = chosen[analysis.examples.losses[chosen] > analysis.examples.losses.min()]
    return [_examples(analysis, chosen.tolist(), "Worst predictions")] if len(chosen) else []


def _worst(analysis: Analysis, inside: np.ndarray) -> np.ndarray:
    """Positions among some examples, worst predictions first; of wrong labels, those that the model is surest of."""
    return np.argsort(-analysis.badness[inside], kind="stable")


def label_table(analysis: Analysis) -> list[Part]:
    """The most suspicious labels."""
    found = analysis.suspected
    if found is None or not len(found):
        return []
    top = found.head(SUSPECTED).to_dict("records")
    rows = [
        (
            shortened(input_text(row)),
            str(about["label"]),
            str(about["suggested"]),
            f"{about['probability']:.3f}",
            f"{about['suggested_probability']:.3f}",
            str(about["id"]),
        )
        for about, row in zip(top, analysis.examples.rows([about["example"] for about in top]), strict=True)
    ]
    columns = ("input", "label", "suggested", "p of label", "p of suggested", "id")
    note = (
        f"{plural(len(found), 'label')} by confident learning (Northcutt, Jiang and Chuang, 2021): the model is as sure of "
        "another label as it is on average of the examples that have it. Sorted by the difference of both probabilities. A "
        "model may be wrong where the label is right: look before you change it."
    )
    intro = Text("These predictions are of examples on which the model was not trained.")
    return [intro, Table("Most suspicious labels", columns, rows, (0, 1, 2, 5), [note])]


def _examples(analysis: Analysis, chosen: Sequence[int], caption: str) -> Table:
    """A table of examples."""
    value, losses = Values(analysis.examples.measure), analysis.examples.losses
    binary = analysis.examples.measure.binary
    rows = [
        (
            shortened(input_text(row)),
            shortened(answer_text(row.get("label", ""))),
            shortened(answer_text(row["prediction"])),
            *(() if binary else (value(float(losses[i])),)),
            str(row["id"]),
        )
        for i, row in zip(chosen, analysis.examples.rows(chosen), strict=True)
    ]
    columns = ("input", "label", "prediction", *(() if binary else (value.name,)), "id")
    return Table(caption, columns, rows, (0, 1, 2, len(columns) - 1))
