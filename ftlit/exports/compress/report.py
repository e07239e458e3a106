"""What a ladder says: on the terminal, as JSON, as Markdown and as a page with plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from ftlit.exports.compress.measure import PERCENTILES, ROUNDS, SIZES
from ftlit.exports.compress.methods import METHODS, ORIGINAL
from ftlit.exports.compress.processor import SUMS_OF_8_BITS
from ftlit.exports.compress.rungs import Rung
from ftlit.util.render.document import Document, Figure, Section, Table, Text
from ftlit.util.render.formats import NONE, decimals_for, interval, listed, number, share, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, SUMMARY, RECORD = "compression.html", "compression.md", "compression.json"
FILES = {PAGE: "the report as a page, with plots", SUMMARY: "the report as Markdown", RECORD: "its numbers"}


@dataclass(frozen=True)
class Ladder:
    """All forms of a run, side by side.

    Args:
        run: Name of the run.
        task: Name of its task.
        metric: Name of the metric.
        higher: Whether its higher values are better.
        split: The split on which forms are compared.
        examples: Number of its examples.
        rows: Number of rows that were timed.
        max_drop: The largest loss that passes; None if all do.
        machine: Processor, its instructions, and numbers of cores and threads.
        versions: Versions of packages.
        rungs: The forms, the original first.
    """

    run: str
    task: str
    metric: str
    higher: bool
    split: str
    examples: int
    rows: int
    max_drop: float | None
    machine: dict[str, Any]
    versions: dict[str, str]
    rungs: list[Rung]

    def record(self, only: Sequence[str] | None = None) -> dict[str, Any]:
        """The content of compression.json: of all rungs, or of the original and some others."""
        chosen = [rung for rung in self.rungs if only is None or rung.method in (ORIGINAL, *only)]
        facts = {key: value for key, value in vars(self).items() if key != "rungs"}
        return {**facts, "rungs": [rung.record() for rung in chosen]}


def tables(ladder: Ladder) -> list[Table]:
    """The quality and size of each rung, and its speed."""
    return [quality_table(ladder), speed_table(ladder)]


def quality_table(ladder: Ladder) -> Table:
    """Bytes, memory, agreement, and the difference of the metric to the original."""
    original, *others = ladder.rungs
    widths = [(rung.interval[1] - rung.interval[0]) / 2 for rung in others if rung.interval]
    decimals = max(decimals_for(widths), 3)
    columns = ("", "bytes", "of the original", "memory", "same answers", ladder.metric, "difference", "95% interval", "verdict")
    rows = [
        (
            rung.method,
            size(rung.size),
            share(rung.size / original.size),
            size(rung.measured.memory),
            NONE if rung is original or rung.agreement is None else f"{100 * rung.agreement:.1f}%",
            number(rung.metric, decimals),
            NONE if rung is original else number(rung.difference, decimals, sign=True),
            interval(*rung.interval, decimals, sign=True) if rung.interval else NONE,
            NONE if rung is original else "passes" if rung.passes else "refused",
        )
        for rung in ladder.rungs
    ]
    notes = [
        "Bytes are those of all files of a folder, and for the original those of its weights. Memory is resident, of a "
        "process that has opened the model and predicted once, with Python and its libraries.",
        "The interval is that of the paired bootstrap over the examples: it is about this trained model on this processor.",
    ]
    return Table(f"Size and quality on {ladder.examples:,} examples of {ladder.split}", columns, rows, (0, 8), notes)


def speed_table(ladder: Ladder) -> Table:
    """Latency by size of batches, and rows a second."""
    best = ladder.rungs[0].measured.speed
    marks = "/".join(f"p{p}" for p in PERCENTILES)
    columns = ("", *(f"{marks} of {count} {'row' if count == 1 else 'rows'}, ms" for count in SIZES), "rows a second", "factor")
    rows = [
        (
            rung.method,
            *(" / ".join(f"{value:.3g}" for value in rung.measured.latency[count]) for count in SIZES),
            f"{rung.measured.speed:,.0f}",
            f"{rung.measured.speed / best:.2f}",
        )
        for rung in ladder.rungs
    ]
    note = (
        f"From rows to predictions, with the tokenizer, by {ladder.machine['threads']} threads on {ladder.machine['cores']} "
        f"cores: the same {ladder.rows:,} rows in batches of {listed(map(str, SIZES))}, in {ROUNDS} turns, each form "
        "in a process of its own. Rows a second are those with the best of these sizes."
    )
    return Table("Speed", columns, rows, (0,), [note])


def text(ladder: Ladder) -> str:
    """The tables, notes and layers for the terminal."""
    parts = []
    for table in tables(ladder):
        align = ["left" if i in table.words else "right" for i in range(len(table.columns))]
        grid = tabulate(table.rows, headers=table.columns, tablefmt="simple", colalign=align, disable_numparse=True)
        parts.append(f"{table.caption}\n{grid}")
    return "\n\n".join([*parts, *sentences(ladder)])


def sentences(ladder: Ladder) -> list[str]:
    """What the tables do not say: the verdicts, the layers in float32, and the processor."""
    found = [_verdict(ladder)]
    for rung in ladder.rungs:
        if rung.kept:
            found.append(f"{rung.method} keeps float32 in {listed(rung.kept, 12)}.")
    machine = ladder.machine
    known = ", ".join(machine["instructions"]) or "not known"
    found.append(f"Measured on {machine['processor']} with {machine['threads']} threads; its instructions: {known}.")
    if not SUMS_OF_8_BITS & set(machine["instructions"]):
        found.append("This processor has no instructions for sums of 8 bits (VNNI, AMX), so they bring little speed.")
    return found


def _verdict(ladder: Ladder) -> str:
    if ladder.max_drop is None:
        return "No --max_drop was given, so every form passes."
    refused = [rung.method for rung in ladder.rungs if not rung.passes]
    rule = f"A form passes if its {ladder.metric} is worse than the original's by at most {ladder.max_drop:g}"
    return f"{rule}; refused: {listed(refused)}."


def document(ladder: Ladder) -> Document:
    """The report."""
    first, *rest = sentences(ladder)
    used = {rung.method: METHODS[rung.method].text for rung in ladder.rungs if rung.method in METHODS}
    forms = Table("What the forms are", ("", "form"), list(used.items()), (0, 1))
    sections = [
        Section("Result", [Text(first), *tables(ladder), *map(Text, rest)]),
        Section("Quality against cost", [plot(ladder)]),
        Section("Forms", [forms]),
    ]
    lead = f"{ladder.task}, {len(ladder.rungs) - 1} {'form' if len(ladder.rungs) == 2 else 'forms'} beside the original"
    return Document(f"Compression of {ladder.run}", lead, sections, files=FILES)


def plot(ladder: Ladder) -> Figure:
    """The metric against the latency of one row, and against bytes."""
    from ftlit.util.render.drawing import figure, panels, styled

    one = SIZES[0]
    costs = {
        "median latency of one row, ms": [rung.measured.latency[one][0] for rung in ladder.rungs],
        "bytes": [float(rung.size) for rung in ladder.rungs],
    }
    with styled():
        drawing, plots = panels(len(costs), height=2.9)
        for axes, (label, values) in zip(plots, costs.items(), strict=True):
            _points(axes, ladder, values)
            axes.set_xlabel(label)
        plots[0].set_ylabel(f"{ladder.metric} on {ladder.split}")
        caption = (
            "lines are 95% intervals of the difference to the original, drawn around the form's own value; filled forms pass."
        )
        return figure(drawing, f"{ladder.metric} against cost", caption)


def _points(axes: "Axes", ladder: Ladder, values: Sequence[float]) -> None:
    from ftlit.util.render.drawing import COLORS, INK, MARKER_SHAPES, logarithmic, spread_over

    original = ladder.rungs[0].metric
    axes.axhline(original, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
    for i, (rung, x) in enumerate(zip(ladder.rungs, values, strict=True)):
        color = COLORS[i % len(COLORS)]
        if rung.interval:
            axes.plot([x, x], [original + end for end in rung.interval], color=color, linewidth=1)
        face = color if rung.passes else "none"
        axes.plot([x], [rung.metric], MARKER_SHAPES[i % len(MARKER_SHAPES)], color=color, markersize=5, markerfacecolor=face)
        axes.annotate(rung.method, (x, rung.metric), xytext=(5, 4), textcoords="offset points", fontsize=8)
    if spread_over(list(values)):
        logarithmic(axes)
    axes.margins(x=0.22)


def card_section(ladder: Ladder, method: str) -> str:
    """The part of a model card that says what a form costs and loses, in Markdown."""
    from ftlit.util.render.markdown import markdown_table

    chosen = [rung for rung in ladder.rungs if rung.method in (ORIGINAL, method)]
    few = Ladder(**{**vars(ladder), "rungs": chosen})
    notes = "\n\n".join(sentences(few)[1:])
    before = "The results above are those of the run before compression. This form was measured beside it:"
    return "\n\n".join(["## Compression", before, *map(markdown_table, tables(few)), notes]) + "\n"
