"""What a report is made of, whatever the format: sections of sentences, tables, figures, and parts that are folded away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: Its sentences.
        warning: Whether readers must not miss it.
    """

    text: str
    warning: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Code:
    """Commands, or another text set as it is."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        caption: What it shows.
        columns: Heads of the columns.
        rows: The cells.
        words: Columns that hold words, set left; the others hold numbers, set right.
        notes: Sentences below it.
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
        svg: The drawing, with a text for those who cannot see it.
        caption: What stands below it.
        width: Pixels at which it is drawn.
    """

    svg: str
    caption: str
    width: int
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Fold:
    """Parts that are opened by those who want them."""

    summary: str
    parts: Sequence["Part"]
    kind: ClassVar[str] = "fold"


Part = Text | Code | Table | Figure | Fold


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Args:
        title: Its heading.
        parts: What it holds.
        essential: Whether it also stands in the short formats.
    """

    title: str
    parts: Sequence[Part]
    essential: bool = True

    @property
    def anchor(self) -> str:
        """Where links go."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report.

    Args:
        title: Of the study.
        lead: How far it has come, in a line.
        sections: Its sections, those without parts left out.
        main: The tables of the comparison, which also stand alone.
        files: Other files of the report, by name and with what they hold.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    main: Sequence[Table] = ()
    files: dict[str, str] = field(default_factory=dict)
