"""The elements of a report in any format: sections with paragraphs, tables, figures, shaded texts and folded parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: The sentences of the paragraph.
        warning: Whether to highlight it.
    """

    text: str
    warning: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Code:
    """Commands, or other preformatted text."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        caption: Caption of the table.
        columns: Column names.
        rows: The cells.
        words: Indices of columns that hold words and are aligned left; columns of numbers are aligned right.
        notes: Sentences below the table.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    notes: Sequence[str] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A plot.

    Args:
        svg: The drawing, with an alternative text.
        caption: Caption below the drawing.
        width: Width in pixels.
    """

    svg: str
    caption: str
    width: int
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Shade:
    """A word, or other characters, of a `Shaded` text.

    Args:
        text: The characters, with the white space between words.
        level: From -1 to 1: how strongly they are shaded, in the colour of what is below or above zero.
        value: What is shown when a reader points at them.
    """

    text: str
    level: float = 0.0
    value: str = ""


@dataclass(frozen=True)
class Shaded:
    """A text whose words are shaded by a number each.

    Args:
        caption: Line above the text.
        pieces: The text, in pieces.
        note: Sentence below it.
    """

    caption: str
    pieces: Sequence[Shade]
    note: str = ""
    kind: ClassVar[str] = "shaded"


@dataclass(frozen=True)
class Fold:
    """Parts that are collapsed until the reader opens them."""

    summary: str
    parts: Sequence["Part"]
    kind: ClassVar[str] = "fold"


Part = Text | Code | Table | Figure | Shaded | Fold


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Args:
        title: Heading of the section.
        parts: Contents of the section.
        essential: Whether short formats include it.
    """

    title: str
    parts: Sequence[Part]
    essential: bool = True

    @property
    def anchor(self) -> str:
        """The target of links to the section."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report.

    Args:
        title: Name of the study.
        lead: The progress of the study, in one line.
        sections: The sections that are not empty.
        main: The main tables, which the LaTeX file repeats.
        files: Descriptions of the report's files by name.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    main: Sequence[Table] = ()
    files: dict[str, str] = field(default_factory=dict)
