"""The report on the errors of a run: a page, and what is printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftlit.insight.errors.analysis import Analysis
from ftlit.insight.errors.slices.table import with_sign
from ftlit.insight.errors.tables import (
    Values,
    confusion_parts,
    found_table,
    label_table,
    slice_examples,
    slices_table,
    worst_table,
)
from ftlit.util.render.document import Document, Figure, Part, Section, Text
from ftlit.util.render.formats import listed, plural

if TYPE_CHECKING:
    from pandas import DataFrame

SLICES, LABEL_ERRORS = "slices.csv", "label_errors.jsonl"
PLOTTED = 20  # slices


def document(analysis: Analysis) -> Document:
    """The report."""
    worse, examples = found_table(analysis), slice_examples(analysis)
    single = slices_table(analysis)
    parts: list[Part] = [Text(sentence) for sentence in sentences(analysis)]
    parts += [Text(note, warning=True) for note in analysis.notes]
    found: list[Part] = [*([worse] if worse else []), *([plot(analysis)] if len(analysis.slices) else []), *examples]
    sections = [
        Section("Result", [*parts, *found]),
        Section("Slices by one property", [single] if single else []),
        Section("Confusions", confusion_parts(analysis)),
        Section("Worst predictions", worst_table(analysis), essential=False),
        Section("Labels that are probably wrong", label_table(analysis)),
    ]
    files = {"errors.md": "the report as Markdown", "errors.json": "its numbers", SLICES: "all slices by one property"}
    if analysis.suspected is not None:
        files[LABEL_ERRORS] = "labels to look at, most suspicious first"
    names = listed([run.folder.resolve().name for run in analysis.runs])
    lead = f"{analysis.runs[0].record.get('task')}, {len(analysis.examples):,} examples of {analysis.split}"
    return Document(f"Errors of {names}", lead, [section for section in sections if section.parts], files=files)


def sentences(analysis: Analysis) -> list[str]:
    """What was found, in words."""
    measure, examples = Values(analysis.examples.measure), analysis.examples
    confirmed = int(analysis.found["confirmed"].sum())
    found = [f"The {measure.name} of {len(examples):,} examples is {measure(float(examples.losses.mean()))}."]
    if confirmed:
        found.append(
            f"{plural(confirmed, 'slice')} of {len(analysis.found)} that looked worst on one half of the examples "
            f"{'was' if confirmed == 1 else 'were'} confirmed on the other half."
        )
    else:
        tested = f": of {len(analysis.found)} that looked worst on one half of the examples, none was confirmed on the other"
        found.append(f"No slice was found to be worse than the rest{tested if len(analysis.found) else ''}.")
    if analysis.suspected is not None:
        found.append(
            f"{plural(len(analysis.suspected), 'label')} {'is' if len(analysis.suspected) == 1 else 'are'} suspected to be "
            f"wrong; look at those at the top of {LABEL_ERRORS} first."
        )
    return found


def text(analysis: Analysis) -> str:
    """The report for the terminal."""
    from tabulate import tabulate

    parts = [*sentences(analysis), *analysis.notes]
    for table in (found_table(analysis), slices_table(analysis, 10)):
        if table is not None:
            align = ["left" if i in table.words else "right" for i in range(len(table.columns))]
            grid = tabulate(table.rows, headers=table.columns, tablefmt="simple", colalign=align, disable_numparse=True)
            parts.append(f"{table.caption}\n{grid}")
    return "\n\n".join(parts)


def numbers(analysis: Analysis) -> dict[str, Any]:
    """The content of errors.json."""
    examples = analysis.examples
    found = with_sign(analysis.found, examples.measure.sign)
    return {
        "runs": [str(run.folder) for run in analysis.runs],
        "task": analysis.runs[0].record.get("task"),
        "split": analysis.split,
        "examples": len(examples),
        "measure": examples.measure.name,
        "higher_is_better": examples.measure.sign < 0,
        "mean": examples.measure.sign * float(examples.losses.mean()),
        "found": found.astype(object).where(found.notna(), None).to_dict("records"),
        "slices": len(analysis.slices),
        "suspected_labels": None if analysis.suspected is None else len(analysis.suspected),
        "notes": list(analysis.notes),
    }


def plot(analysis: Analysis) -> Figure:
    """The differences of slices to the rest, with their intervals."""
    from ftlit.util.render.drawing import COLORS, INK, figure, sheet, styled

    measure, rows = Values(analysis.examples.measure), _plotted(analysis.slices)
    with styled():
        drawing = sheet(6.4, 0.9 + 0.22 * len(rows))
        axes = drawing.subplots()
        for place, row in enumerate(reversed(rows)):
            low, high = measure.ends(row["low"], row["high"])
            axes.plot([low, high], [place, place], color=COLORS[0], linewidth=1)
            axes.plot([measure.scaled(row["difference"])], [place], "o", color=COLORS[0], markersize=4)
        axes.axvline(0, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [_short(row["slice"]) for row in reversed(rows)])
        axes.set_xlabel(f"difference of the {measure.name} to the rest{measure.unit}")
        caption = "the slices with the smallest p; lines are 95% intervals."
        return figure(drawing, "Slices against the rest", caption)


def _plotted(slices: "DataFrame") -> Sequence[dict[Any, Any]]:
    return slices.head(PLOTTED).to_dict("records")


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"
