"""The part of a model card about the data: splits, columns and labels."""

from typing import Any

from tabulate import tabulate

from ftlit.exports.card.subject import Subject
from ftlit.util.render.formats import NONE, share
from ftlit.util.render.markdown import escaped

SHOWN_LABELS = 20  # lines of the table of labels
HEADERS = ["split", "rows", "dropped", "truncated", "median tokens", "longest", "fingerprint"]


def data_section(subject: Subject) -> str:
    """The data set with its columns, and a table of its splits and one of its labels."""
    parts = [_source(subject), table(_split_rows(subject), HEADERS)]
    if counts := label_counts(subject):
        parts.append(_label_table(counts))
    return "\n\n".join(["## Data", *parts])


def table(rows: list[list[Any]], headers: list[str]) -> str:
    """A table in the Markdown of GitHub; cells are texts."""
    cells = [[NONE if cell is None else escaped(str(cell)) for cell in row] for row in rows]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def label_counts(subject: Subject) -> dict[str, dict[str, int]]:
    """The rows of each label by split, where the task has labels."""
    return {split: found["labels"] for split, found in subject.splits.items() if "labels" in found}


def _source(subject: Subject) -> str:
    name, config, commit = subject.dataset, subject.data_option("config_name"), subject.run.record.get("data_commit")
    facts = [f"`{name}`", f"configuration `{config}`" if config else None, f"commit {commit}" if commit else None]
    read = ", ".join(f"`{column}`" for column in subject.data.input_columns().values())
    answers = [column for key, column in subject.data.columns().items() if key not in subject.data.input_columns()]
    told = f"; the answers are in {', '.join(f'`{column}`' for column in answers)}" if answers else ""
    return f"{', '.join(fact for fact in facts if fact)}. The model reads the column{_s(read)} {read}{told}."


def _s(names: str) -> str:
    return "s" if ", " in names else ""


def _split_rows(subject: Subject) -> list[list[Any]]:
    return [
        [
            split,
            found.get("rows"),
            found.get("dropped"),
            share(found.get("truncated")),
            (found.get("tokens") or {}).get("median"),
            (found.get("tokens") or {}).get("longest"),
            found.get("fingerprint"),
        ]
        for split, found in subject.splits.items()
    ]


def _label_table(counts: dict[str, dict[str, int]]) -> str:
    names = list(dict.fromkeys(name for found in counts.values() for name in found))
    rows = [[name, *(found.get(name, 0) for found in counts.values())] for name in names[:SHOWN_LABELS]]
    more = f"\n\nand {len(names) - SHOWN_LABELS} other labels." if len(names) > SHOWN_LABELS else ""
    return table(rows, ["label", *(f"rows of {split}" for split in counts)]) + more
