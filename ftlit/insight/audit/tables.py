"""The tables of an audit's report."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ftlit.insight.audit.gate import Check
from ftlit.insight.audit.pairs.compared import ALIKE, DIFFERS, LEAST_TEXTS, OPEN
from ftlit.insight.audit.pairs.compared import FEW as FEW_TEXTS
from ftlit.insight.audit.pairs.counterfactual import Coverage
from ftlit.insight.audit.rows.groups import FEW
from ftlit.insight.audit.settings import Settings
from ftlit.insight.audit.texts.changes import DESCRIBED
from ftlit.util.render.document import Fold, Table
from ftlit.util.render.formats import decimals_for, interval, number

EXAMPLES = 10  # texts of each test or lexicon in the page
LONGEST = 120  # characters of an answer in the page
MOST_ROWS = 200  # of a table in the page


def checks_table(checks: Sequence[Check]) -> Table:
    """The limits of the gate."""
    rows = [
        (f"{one.limit} {one.allowed:g}", one.of, number(one.value, 4), "kept" if one.kept else "not kept") for one in checks
    ]
    return Table("Limits", ("limit", "of", "found", ""), rows, (0, 1, 3))


def groups_table(frame: pd.DataFrame, level: float) -> Table:
    """The metric of the groups of a column."""
    column, metric = frame["column"].iloc[0], frame["metric"].iloc[0]
    decimals = decimals_for(_half_widths(frame, "low", "high"))
    rows = [
        (
            row.group,
            f"{row.rows:,}",
            number(row.value, decimals),
            interval(row.low, row.high, decimals),
            number(row.gap, decimals, sign=True),
            interval(row.gap_low, row.gap_high, decimals, sign=True),
            row.verdict,
        )
        for row in frame.head(MOST_ROWS).itertuples()
    ]
    sure = f"{100 * (1 - level):g}%"
    notes = [
        f"The gap is the metric of the group minus that of all other rows. Its intervals hold together with {sure}, by "
        f"Bonferroni; the intervals of the metric hold with {sure} each. A group that has {FEW} is not compared. All are about "
        "this trained model on new rows.",
        *_rest(frame),
    ]
    columns = (column, "rows", metric, "interval", "gap", "interval of the gap", "verdict")
    return Table(f"{metric} by {column}", columns, rows, (0, 6), notes)


def balance_table(frame: pd.DataFrame, split: str) -> Table:
    """The shares of labels in the groups of a column."""
    column = frame["column"].iloc[0]
    rows = [
        (
            row.group,
            row.label,
            number(row.train, 3),
            interval(row.train_low, row.train_high, 3),
            number(row.right, 3),
            number(row.predicted, 3),
            number(row.excess, 3, sign=True),
            interval(row.low, row.high, 3, sign=True),
        )
        for row in frame.head(MOST_ROWS).itertuples()
    ]
    notes = [
        f"Shares of rows with a label: in train, among the right answers of {split}, and among its predictions. The excess is "
        "that of the predictions over the right answers, with intervals that hold together.",
        *_rest(frame),
    ]
    columns = (column, "label", "train", "interval", "right", "predicted", "excess", "interval of the excess")
    return Table(f"Labels by {column}: the data and the model", columns, rows, (0, 1), notes)


def coverage_sentence(one: Coverage) -> str:
    """How many rows have words of a lexicon."""
    mixed = f"; {one.mixed:,} with words of several groups are left out" if one.mixed else ""
    return f"{one.source}: {one.found:,} of {one.searched:,} rows have words of one group{mixed}."


def substitutions_table(frame: pd.DataFrame, how: str) -> Table:
    """How much answers change with other words."""
    rows = [
        (
            row.source,
            f"{row.rows:,}",
            f"{row.pairs:,}",
            number(row.changed, 3),
            interval(row.changed_low, row.changed_high, 3),
            number(row.distance, 4),
            interval(row.distance_low, row.distance_high, 4),
        )
        for row in frame.itertuples()
    ]
    columns = ("words", "texts", "pairs", "changed", "interval", "distance", "interval of the distance")
    note = f"Changed is the share of pairs with another prediction. The distance is {how}."
    return Table("Answers to texts with other words", columns, rows, (0,), [note])


def effects_table(frame: pd.DataFrame, settings: Settings) -> Table:
    """By how much scores differ between groups of words, the largest differences first."""
    order = {DIFFERS: 0, OPEN: 1, ALIKE: 2}
    few, frame = int((frame["verdict"] == FEW_TEXTS).sum()), frame[frame["verdict"] != FEW_TEXTS]
    ranked = frame.assign(rank=frame["verdict"].map(order), size=frame["difference"].abs())
    ranked = ranked.sort_values(["rank", "size"], ascending=[True, False])
    rows = [
        (
            row.source,
            f"{row.other} instead of {row.group}",
            row.outcome,
            f"{row.pairs:,}",
            number(row.difference, 3, sign=True),
            interval(row.low, row.high, 3, sign=True),
            row.verdict,
        )
        for row in ranked.head(MOST_ROWS).itertuples()
    ]
    tolerances = {one.tolerance for one in (settings.substitutions, settings.templates) if one}
    within = " or ".join(f"{tolerance:g}" for tolerance in sorted(tolerances))
    notes = [
        f"{DIFFERS}: the interval is beyond a tolerance of {within}; {ALIKE}: it is within; {OPEN}: neither, so that more "
        "texts are needed. The intervals of the same words hold together, by Bonferroni.",
        *([f"Not shown: {few:,} differences of fewer than {LEAST_TEXTS} texts; audit.json has them."] if few else []),
        *_rest(frame),
    ]
    columns = ("words", "groups", "score of", "pairs", "difference", "interval", "verdict")
    return Table("Scores by group of words", columns, rows, (0, 1, 2, 6), notes)


def tests_table(frame: pd.DataFrame) -> Table:
    """The pass rates of tests."""
    rows = [
        (
            row.test,
            DESCRIBED[str(row.test).split(" ", 1)[0]],
            row.expected,
            f"{row.rows:,}",
            number(row.passed, 3),
            interval(row.low, row.high, 3),
        )
        for row in frame.itertuples()
    ]
    columns = ("test", "change", "expected", "texts", "pass rate", "interval")
    note = "Tests in the manner of CheckList (Ribeiro et al., 2020), with Wilson's intervals."
    return Table("Tests", columns, rows, (0, 1, 2), [note])


def shortcuts_table(frame: pd.DataFrame, split: str) -> Table:
    """Words that are tied to a label, and how much the model leans on them."""
    rows = [
        (
            row.word,
            row.label,
            f"{row.rows:,}",
            number(row.share, 3),
            interval(row.low, row.high, 3),
            number(row.base, 3),
            number(row.pmi, 2),
            number(row.z, 1),
            f"{row.removed_from:,}",
            number(row.fall, 3, sign=True),
            interval(row.fall_low, row.fall_high, 3, sign=True),
        )
        for row in frame.itertuples()
    ]
    columns = ("word", "label", "rows of train", "with the label", "interval", "of all rows", "PMI", "z", f"rows of {split}",
               "fall", "interval of the fall")  # fmt: skip
    notes = [
        "Words that occur with a label more often than chance explains: z is the number of rows beyond the expected one in "
        "standard deviations. Many are tied to it for good reasons; a name, a place or a date is a shortcut.",
        f"The fall is that of the label's score when the word is removed from rows of {split}: how much the model leans on it.",
    ]
    return Table("Words tied to a label in train", columns, rows, (0, 1), notes)


def memory_table(frame: pd.DataFrame, least: int) -> Table:
    """What written texts repeat of train."""
    rows = [
        (
            row.what,
            f"{row.texts:,}",
            f"{row.found:,}",
            number(row.share, 4),
            interval(row.low, row.high, 4),
            number(row.of_right, 4),
            f"{row.in_train:,}",
        )
        for row in frame.itertuples()
    ]
    columns = ("", "texts", "with it", "share", "interval", "of right answers", "in train")
    note = (
        f"Passages of {least} or more words that stand so in train; e-mail addresses, telephone numbers, and IBANs and card "
        "numbers with the right check digits. What the model was given to read does not count."
    )
    return Table("Written texts", columns, rows, (0,), [note])


def passages_fold(frame: pd.DataFrame) -> Fold:
    """The longest passages of train in written texts."""
    rows = [
        (f"{row.words}", _short(row.passage), _short(row.text), _short(row.of_train))
        for row in frame.head(EXAMPLES).itertuples()
    ]
    table = Table("The longest passages", ("words", "passage", "written text", "text of train"), rows, (1, 2, 3))
    return Fold(f"{len(rows)} of {len(frame):,} texts with a passage of train", [table])


def examples(frame: pd.DataFrame, source: str, by: str) -> Fold:
    """The texts of a source whose answers differ most."""
    own = frame[frame["source"] == source].sort_values(by, ascending=False, kind="stable")
    worst = own.head(EXAMPLES).itertuples()
    rows = [(str(row.text), _short(row.before), _short(row.after), number(row.distance, 3)) for row in worst]
    table = Table(f"{source}: texts whose answers differ most", ("text", "before", "after", "distance"), rows, (0, 1, 2))
    return Fold(f"{source}: {len(rows)} of {len(own):,} texts", [table])


def _short(text: Any) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _half_widths(frame: pd.DataFrame, low: str, high: str) -> Iterable[float]:
    return ((frame[high] - frame[low]) / 2).tolist()


def _rest(frame: pd.DataFrame) -> list[str]:
    return [f"The first {MOST_ROWS} of {len(frame):,} rows; audit.json has all."] if len(frame) > MOST_ROWS else []
