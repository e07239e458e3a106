"""The essential sections of a report as GitHub Markdown."""

import re
from collections.abc import Sequence

from ftlit.util.render.document import Code, Document, Part, Shade, Shaded, Table, Text

STRONG = 0.5  # level from which a shaded word is bold, or struck through if it is below zero


def markdown(document: Document) -> str:
    """Format the paragraphs and tables of the essential sections, without figures and folded parts."""
    parts = [f"# {escaped(document.title)}", escaped(document.lead)]
    for section in document.sections:
        shown = (
            [_part(part) for part in section.parts if isinstance(part, Text | Code | Table | Shaded)]
            if section.essential
            else []
        )
        if shown:
            parts += [f"## {section.title}", *shown]
    parts += ["## Files", "\n".join(f"- [{name}]({name}): {what}" for name, what in document.files.items())]
    return "\n\n".join(parts) + "\n"


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return markdown_table(part)
    if isinstance(part, Code):
        return f"```bash\n{part.text}\n```"
    if isinstance(part, Shaded):
        return "\n\n".join(filter(None, [f"**{escaped(part.caption)}**", _shaded(part.pieces), escaped(part.note)]))
    assert isinstance(part, Text)
    return f"> **Note.** {escaped(part.text)}" if part.warning else escaped(part.text)


def _shaded(pieces: Sequence[Shade]) -> str:
    """A text with its strongest words in bold, or struck through."""
    return "".join(_marked(piece) for piece in pieces).strip()


def _marked(piece: Shade) -> str:
    text = escaped(piece.text)
    if abs(piece.level) >= STRONG and text:
        return f"**{text}**" if piece.level > 0 else f"~~{text}~~"
    return text or " " * bool(piece.text)


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
