"""What an update says: on the terminal, and as a page with a plot."""

from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from ftlit.commands.update.comparison import PLACES, Compared, Side
from ftlit.commands.update.lineage import drawn
from ftlit.commands.update.verdict import Verdict
from ftlit.util.render.document import Code, Document, Figure, Section, Table, Text
from ftlit.util.render.formats import NONE, decimals_for, interval, number, plural

SHOWN_LABELS = 30  # with the largest changes


@dataclass(frozen=True)
class Update:
    """An update, as it is reported.

    Args:
        run: Name of the new run.
        compared: Both models on both tests.
        verdict: The decision.
        tolerance: The largest loss on the old test data that is accepted.
        how: What acted against forgetting, as a sentence.
        lineage: Where the new run comes from.
    """

    run: str
    compared: Compared
    verdict: Verdict
    tolerance: float
    how: str
    lineage: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """The numbers of the report."""
        own = {"run": self.run, "tolerance": self.tolerance, "how": self.how}
        return {**own, "verdict": self.verdict.record(), **asdict(self.compared), "lineage": self.lineage}

    @property
    def decision(self) -> str:
        """The decision in a sentence."""
        return "The new model is accepted." if self.verdict.accepted else "The new model is not accepted."


def main_table(found: Compared) -> Table:
    """Both models on both test data."""
    widths = [(side.interval[1] - side.interval[0]) / 2 for side in found.sides if side.interval]
    decimals = max(decimals_for(widths), 3)
    columns = ("test data", "examples", "old model", "new model", "difference", "95% interval", "lost", "gained")
    notes = [
        f"{found.metric} on the test split of each run; {'higher' if found.higher else 'lower'} values are better.",
        "The interval is that of the paired bootstrap over the examples: it is about these two models, not about other seeds.",
        "Lost are examples that only the old model has right, gained those that only the new one has right.",
    ]
    return Table(f"{found.metric} of both models", columns, [_row(side, decimals) for side in found.sides], (0,), notes)


def _row(side: Side, decimals: int) -> tuple[str, ...]:
    turned = [f"{count:,}" for count in side.turned] if side.turned else [NONE, NONE]
    return (
        f"of the {side.place} run",
        f"{side.examples:,}",
        number(side.old, decimals),
        number(side.new, decimals),
        number(side.new - side.old, decimals, sign=True),
        interval(*side.interval, decimals, sign=True) if side.interval else NONE,
        *turned,
    )


def label_tables(found: Compared) -> list[Table]:
    """How many rows of each label both models have right, on each test."""
    tables = []
    for side in (side for side in found.sides if side.labels):
        ranked = sorted(side.labels.items(), key=lambda item: (-abs(item[1][2] - item[1][1]) / item[1][0], item[0]))
        rows = [
            (name, f"{rows:,}", f"{old / rows:.1%}", f"{new / rows:.1%}", number(100 * (new - old) / rows, 1, sign=True))
            for name, (rows, old, new) in ranked[:SHOWN_LABELS]
        ]
        left = len(ranked) - len(rows)
        notes = [f"{plural(left, 'label')} with smaller changes not shown."] if left else []
        columns = ("label", "rows", "old model right", "new model right", "points")
        tables.append(Table(f"Right answers by label, test data of the {side.place} run", columns, rows, (0,), notes))
    return tables


def repeats(found: Compared) -> list[str]:
    """Warnings of test rows that one of the models was trained on."""
    return [
        f"The {place} model was trained on {plural(count, 'row')} of the test split of the {other} run, exactly or nearly: its "
        "answers to them say little."
        for (place, count), other in zip(found.repeated.items(), reversed(PLACES), strict=True)
        if count
    ]


def text(update: Update) -> str:
    """The verdict and the table for the terminal."""
    table = main_table(update.compared)
    align = ("left", *["right"] * (len(table.columns) - 1))
    grid = tabulate(table.rows, headers=table.columns, tablefmt="simple", disable_numparse=True, colalign=align)
    said = [update.decision, *update.verdict.reasons, *update.verdict.uncertain, *repeats(update.compared)]
    return "\n".join(["", table.caption, grid, "", *said])


def document(update: Update) -> Document:
    """The report."""
    found, verdict = update.compared, update.verdict
    parts = [Text(f"{update.decision} {' '.join(verdict.reasons)}", warning=not verdict.accepted)]
    parts += [Text(doubt) for doubt in verdict.uncertain]
    parts += [Text(sentence, warning=True) for sentence in repeats(found)]
    unit = "the difference" if found.is_limited else "the difference as a share of the old model's value"
    rule = (
        f"A new model is accepted if its {found.metric} is not worse on the new test data, and worse by at most "
        f"{update.tolerance:g} on the old ones ({unit} counts)."
    )
    sections = [
        Section("Verdict", [*parts, main_table(found), plot(update), Text(rule)]),
        *([Section("By label", tables)] if (tables := label_tables(found)) else []),
        Section("How it was trained", [Text(update.how), Code(drawn(update.lineage))]),
    ]
    return Document(f"Update: {update.run}", "the old and the new model on the old and the new test data", sections)


def plot(update: Update) -> Figure:
    """The loss of the new model on both tests, with the tolerance."""
    from ftlit.util.render.drawing import COLORS, INK, figure, panels, styled

    with styled():
        drawing, (axes,) = panels(1, height=1.7)
        for i, side in enumerate(reversed(update.compared.sides)):
            limit = update.tolerance if side.place == "old" else 0.0
            axes.plot([limit, limit], [i - 0.3, i + 0.3], color=INK, linewidth=1, linestyle=(0, (4, 3)))
            if side.loss_interval:
                axes.plot(side.loss_interval, [i, i], color=COLORS[i], linewidth=1.4)
            axes.plot([side.loss], [i], "o", color=COLORS[i], markersize=5)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(PLACES)), [f"{place} test data" for place in reversed(PLACES)])
        axes.set_ylim(-0.6, len(PLACES) - 0.4)
        axes.set_xlabel(f"loss of {update.compared.metric} (to the left: the new model is better)")
        caption = "lines are 95% intervals, dashes what is accepted at most."
        return figure(drawing, "What the new model loses", caption)
