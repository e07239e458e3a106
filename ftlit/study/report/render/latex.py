"""The main tables in LaTeX with booktabs, for a paper."""

import re
from collections.abc import Sequence

from ftlit.util.render.document import Document, Table

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "−": "$-$", "±": r"$\pm$", "–": "--",
    "▲": r"$\uparrow$", "▼": r"$\downarrow$", "…": r"\dots{}", "‖": r"$\Vert$",
}  # fmt: skip
PATTERN = re.compile("|".join(map(re.escape, ESCAPES)))
OMITTED = ("peak memory", "checkpoint size", "of all parameters")  # columns for which a page of a paper is too narrow


def latex(document: Document, statement: str) -> str:
    """A ``table*`` for each setting.

    Args:
        document: The report.
        statement: How intervals and tests were computed; it becomes a note below each table.
    """
    head = "% Needs \\usepackage{booktabs}. Written by ftlit; edit the study, not this file.\n"
    return head + "\n".join(_table(part, statement, i) for i, part in enumerate(document.main))


def _table(table: Table, statement: str, place: int) -> str:
    kept = [i for i, name in enumerate(table.columns) if name not in OMITTED]
    shape = "".join("l" if i in table.words else "r" for i in kept)
    lines = [_line([cells[i] for i in kept]) for cells in (table.columns, *table.rows)]
    notes = " ".join([*table.notes, statement])
    return "\n".join([
        r"\begin{table*}", r"\centering", r"\footnotesize",
        rf"\caption{{{escaped(table.caption)}.}}", rf"\label{{tab:study-{place + 1}}}",
        rf"\begin{{tabular}}{{{shape}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}",
        rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {escaped(notes)}}}", r"\end{table*}", "",
    ])  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """Escape the special characters of LaTeX."""
    return PATTERN.sub(lambda match: ESCAPES[match[0]], text)
