"""The report of a calibration: what was fitted, and what it does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ftlit.insight.calibration.fit import Fit, Wishes
from ftlit.insight.calibration.outcome import Change, Outcome, Share, columns
from ftlit.insight.calibration.plots import WHEN, coverage_figure, reliability_figure
from ftlit.metrics.calibration.applied import Calibration
from ftlit.metrics.calibration.measures import MEASURES
from ftlit.util.render.document import Document, Part, Section, Table, Text
from ftlit.util.render.formats import NONE, decimals_for, interval, listed, number, plural, share

FILES = {"calibration.json": "the numbers of this page", "calibration.md": "this page as Markdown"}
ESTIMATOR = (
    "The expected calibration error (ECE) is the mean distance between score and share that came true, over at most 15 bins of "
    "the same number of decisions. ece is without what chance adds to it, estimated from the standard errors of the bins and "
    "the debiased square of the error (Kumar et al., 2019); ece_plain is with it. For all measures, less is better."
)
INTERVALS = (
    "Intervals are 95% bootstraps over rows, or documents if the data name them; that of a difference draws the same rows for "
    "both. They are about these weights on new rows, not about another seed."
)
SAME_ROWS = (
    "Validation also chose the checkpoint, so the model is likely a little better there than on new rows; what counts are the "
    "figures on test."
)
UNKNOWN = (
    "Its 95% interval holds 1, so these rows of validation do not tell whether the model was too sure or not sure enough; with "
    "more rows they might"
)
NOT_ON_TEST = (
    "The run has not been evaluated on test, so these are figures on the rows of validation, on which the calibration was "
    "fitted. They are too good: evaluate the run by `ftlit test`, and calibrate it once more."
)


@dataclass(frozen=True)
class Fitted:
    """What was fitted for a run.

    Args:
        run: Name of the run.
        task: Name of the task's class.
        wishes: What was wanted.
        fit: What was fitted.
        rows: Number of rows of validation.
        outcome: What it does.
    """

    run: str
    task: str
    wishes: Wishes
    fit: Fit
    rows: int
    outcome: Outcome

    @property
    def calibration(self) -> Calibration:
        """The calibration that was fitted."""
        return self.fit.calibration

    @property
    def record(self) -> dict[str, Any]:
        """The numbers of the report."""
        found = self.outcome
        return {
            **{key: getattr(self, key) for key in ("run", "task", "rows")},
            "split": found.split,
            "wishes": vars(self.wishes),
            "calibration": self.calibration.record,
            "temperature_interval": self.fit.temperature and list(self.fit.temperature),
            "changes": columns(found.changes) | {f"{when}_interval": _ends(found, i) for i, when in enumerate(WHEN)},
            "withheld": found.withheld and {name: _numbers(one) for name, one in found.withheld._asdict().items()},
            "sets": found.sets and {"coverage": _numbers(found.sets.coverage), "sizes": found.sets.sizes},
        }


def _ends(found: Outcome, when: int) -> list[list[float] | None]:
    return [one.ends and list(one.ends[when]) for one in found.changes]


def _ends_of(low: float, high: float) -> str:
    return f"[{low:.3g}, {high:.3g}]"


def _numbers(one: Share) -> dict[str, Any]:
    return {"value": one.value, "count": one.total, "interval": list(one.interval)}


def document(fitted: Fitted) -> Document:
    """The report."""
    found = fitted.outcome
    warned = [] if found.split == "test" else [Text(NOT_ON_TEST, warning=True)]
    changed = [changes_table(found, one.of) for one in found.before]
    sections = [
        Section("Result", [Text(" ".join(sentences(fitted))), *warned, *changed, *_metrics(found)]),
        *([Section("Withheld answers", [_withheld_table(fitted)])] if found.withheld else []),
        *([Section("Sets of labels", [Text(_promise(fitted)), _sets_table(found)])] if found.sets else []),
        Section("Reliability", [reliability_figure(found, place) for place in range(len(found.before))]),
        Section("Risk and coverage", [coverage_figure(found)]),
        *([Section("Thresholds", [_thresholds_table(fitted.calibration)])] if fitted.calibration.thresholds else []),
        Section("How it was measured", [Text(ESTIMATOR), Text(INTERVALS), Text(SAME_ROWS)]),
    ]
    shown = f"{plural(found.rows, 'row')} of {found.split}"
    lead = f"{fitted.task}, fitted on {plural(fitted.rows, 'row')} of validation, shown on {shown}"
    return Document(f"Calibration of {fitted.run}", lead, sections, files=FILES)


def sentences(fitted: Fitted) -> Iterator[str]:
    """What was fitted, and what it changes."""
    scores, found = fitted.calibration.scores, fitted.outcome
    if scores.points is not None:
        yield f"The scores go through a rising function of {plural(len(scores.points[0]), 'point')}, the same for all labels."
    elif fitted.fit.temperature is not None:
        low, high = fitted.fit.temperature
        sure = "too sure" if low > 1 else "not sure enough" if high < 1 else None
        told = f": the model was {sure}" if sure else f". {UNKNOWN}"
        yield f"The logits are divided by the temperature {scores.temperature:.4g} {_ends_of(low, high)}{told}."
    for one in found.before:
        ece = next(change for change in found.changes if (change.of, change.name) == (one.of, "ece"))
        assert ece.ends is not None
        before, after = (
            f"{value:.4f} {interval(*ends, 4)}" for value, ends in zip((ece.before, ece.after), ece.ends, strict=True)
        )
        yield f"On {found.split}, the expected calibration error of {one.of} is {before} before and {after} after."
    if found.withheld:
        answered, wrong, all_wrong = (share(one.value) for one in found.withheld)
        yield f"{answered} of the rows get an answer, of which {wrong} are wrong; {all_wrong} would be if all got one."
    if found.sets:
        covered = share(found.sets.coverage.value)
        yield f"{covered} of the sets have the right label, and {fitted.wishes.coverage:g} was promised."


def changes_table(found: Outcome, of: str) -> Table:
    """The measures of one sort of decision before and after."""
    changes = [change for change in found.changes if change.of == of and change.name in MEASURES]
    return _table(f"Calibration of {of}", changes, {change.name: MEASURES[change.name] for change in changes})


def _metrics(found: Outcome) -> list[Part]:
    changes = [change for change in found.changes if change.name not in MEASURES]
    return [_table("Metrics with the thresholds", changes, {})] if changes else []


def _table(caption: str, changes: list[Change], meanings: dict[str, str]) -> Table:
    rows = []
    for one in changes:
        widths = [(high - low) / 2 for low, high in [*(one.ends or ()), *([one.interval] if one.interval else [])]]
        decimals = max(decimals_for(widths), 4)
        values = [number(value, decimals) for value in (one.before, one.after)]
        if one.ends:
            values = [f"{value} {interval(*ends, decimals)}" for value, ends in zip(values, one.ends, strict=True)]
        difference = number(one.after - one.before, decimals, sign=True)
        rows.append((one.name, *values, difference, interval(*one.interval, decimals, sign=True) if one.interval else NONE))
    notes = [f"{name}: {meaning}." for name, meaning in meanings.items()]
    return Table(caption, ("", "before", "after", "difference", "95% interval"), rows, (0,), notes)


def _withheld_table(fitted: Fitted) -> Table:
    found = fitted.outcome.withheld
    assert found is not None
    parts = ("rows with an answer", "wrong ones among them", "wrong ones if all are answered")
    rows = [(name, *_cells(one)) for name, one in zip(parts, found, strict=True)]
    wanted, limit = fitted.wishes, fitted.calibration.abstain_below
    answered = f"at least {share(wanted.answer_share)} of the rows of validation get one"
    right = f"at most {share(wanted.max_error)} of the answers on validation are wrong"
    rule = right if wanted.answer_share is None else answered
    note = f"A row gets no answer if its score is below {limit:.8g}, which was chosen so that {rule}."
    return Table(f"Answers on {fitted.outcome.split}", ("", "share", "95% interval", "of"), rows, (0,), [note])


def _cells(one: Share) -> tuple[str, str, str]:
    return number(one.value, 4), interval(*one.interval, 4), f"{one.total:,}"


def _promise(fitted: Fitted) -> str:
    return (
        f"Each set has the right label with a probability of at least {fitted.wishes.coverage:g}, for rows that are drawn like "
        "those of validation (split conformal prediction; Sadinle et al., 2019). The model's own scores decide, before any "
        "map, so the promise does not depend on the map. A set may be empty: no label is likely then."
    )


def _sets_table(found: Outcome) -> Table:
    assert found.sets is not None
    sizes = found.sets.sizes
    mean = sum(size * count for size, count in sizes.items()) / found.rows
    shown = listed([f"{size} in {share(count / found.rows)}" for size, count in sizes.items()], 8)
    covered = ("sets with the right label", *_cells(found.sets.coverage))
    rows = [covered, ("labels in a set, mean", f"{mean:.2f}", NONE, f"{found.rows:,}")]
    return Table(f"Sets on {found.split}", ("", "value", "95% interval", "of"), rows, (0,), [f"Sizes: {shown} of the rows."])


def _thresholds_table(calibration: Calibration) -> Table:
    assert calibration.thresholds is not None
    rows = [(name, f"{value:.4f}") for name, value in calibration.thresholds.items()]
    note = "A row gets each label whose score is at least its threshold, which has the best F1 of the label on validation."
    return Table("Thresholds of the labels", ("label", "threshold"), rows, (0,), [note])
