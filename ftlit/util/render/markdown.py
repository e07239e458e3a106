"""The essential sections of a report as GitHub Markdown."""

import re
from collections.abc import Sequence

from ftlit.util.render.document import Code, Document, Part, Table, Text


def markdown(document: Document) -> str:
    """Format the paragraphs and tables of the essential sections, without figures and folded parts."""
    parts = [f"# {escaped(document.title)}", escaped(document.lead)]
    for section in document.sections:
        shown = [_part(part) for part in section.parts if isinstance(part, Text | Code | Table)] if section.essential else []
        if shown:
            parts += [f"## {section.title}", *shown]
    parts += ["## Files", "\n".join(f"- [{name}]({name}): {what}" for name, what in document.files.items())]
    return "\n\n".join(parts) + "\n"


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return markdown_table(part)
    if isinstance(part, Code):
        return f"```bash\n{part.text}\n```"
    assert isinstance(part, Text)
    return f"> **Note.** {escaped(part.text)}" if part.warning else escaped(part.text)


def markdown_table(part: Table) -> str:
    """Format a table with its caption above and its notes below."""
    rules = [":--" if i in part.words else "--:" for i in range(len(part.columns))]
    lines = [_line(part.columns), f"|{'|'.join(rules)}|", *map(_line, part.rows)]
    notes = [f"<sub>{escaped(' '.join(part.notes))}</sub>"] if part.notes else []
    return "\n\n".join([f"**{escaped(part.caption)}**", "\n".join(lines), *notes])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def escaped(text: str) -> str:
    """Escape Markdown and HTML, and join lines."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|#~\[\]])", r"\\\1", " ".join(text.split()))
