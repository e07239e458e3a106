"""What an audit says: on the terminal, as a page, and as numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from tabulate import tabulate

from ftlit.insight.audit.frames import Audit
from ftlit.insight.audit.pairs.answers import DISTANCES
from ftlit.insight.audit.pairs.compared import ALIKE, DIFFERS, OPEN
from ftlit.insight.audit.rows.groups import FEW, WORSE
from ftlit.insight.audit.tables import (
    balance_table,
    checks_table,
    coverage_sentence,
    effects_table,
    examples,
    groups_table,
    memory_table,
    passages_fold,
    shortcuts_table,
    substitutions_table,
    tests_table,
)
from ftlit.util.render.document import Document, Part, Section, Table, Text
from ftlit.util.render.formats import listed, number, plural

PAIRS_FILE = "pairs.jsonl"
FRAMES = ("groups", "balance", "substitutions", "effects", "tests", "shortcuts", "memory", "passages")  # in audit.json
SCREEN_ROWS = 12  # of a table on the terminal
FILES = {
    "audit.html": "the report as a page",
    "audit.md": "the report as Markdown",
    "audit.json": "its numbers",
    PAIRS_FILE: "all changed texts with both answers",
}


def document(found: Audit) -> Document:
    """The report of an audit."""
    lead = f"{found.task}, rows of {found.split}"
    sections = [_result(found), _groups(found), _substitutions(found), _behaviour(found), _shortcuts(found), _memory(found)]
    return Document(f"Audit of {found.run}", lead, [one for one in sections if one.parts], files=FILES)


def text(found: Audit) -> str:
    """What the terminal shows: the result, and the tables without examples."""
    parts = [*sentences(found), *found.notes]
    tables = [part for section in document(found).sections for part in section.parts if isinstance(part, Table)]
    for table in tables:
        align = ["left" if i in table.words else "right" for i in range(len(table.columns))]
        rows, more = table.rows[:SCREEN_ROWS], len(table.rows) - SCREEN_ROWS
        grid = tabulate(rows, headers=table.columns, tablefmt="simple", colalign=align, disable_numparse=True)
        parts.append(f"{table.caption}\n{grid}" + (f"\n… and {more} more in the page" if more > 0 else ""))
    return "\n\n".join(parts)


def numbers(found: Audit) -> dict[str, Any]:
    """The content of audit.json."""
    frames = {name: _records(getattr(found, name)) for name in FRAMES}
    about = {"run": found.run, "task": found.task, "split": found.split, "settings": asdict(found.settings)}
    checks = {"passed": found.passed, "checks": [asdict(check) for check in found.checks]}
    return {**about, **checks, **frames, "coverage": [asdict(one) for one in found.coverage], "notes": found.notes}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, with None for numbers that are not known."""
    rows = frame.to_dict("records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in rows]


def pair_rows(found: Audit) -> Iterator[dict[str, Any]]:
    """The content of pairs.jsonl."""
    for frame in (found.pairs, found.tested):
        for row in _records(frame.drop(columns="cluster")):
            yield {key: value for key, value in row.items() if value != ""}


# Sections


def sentences(found: Audit) -> list[str]:
    """The result in sentences."""
    parts = []
    if found.checks:
        missed = sum(not check.kept for check in found.checks)
        parts.append(
            f"The gate is {'closed' if missed else 'open'}: {plural(missed, 'limit')} of {len(found.checks)} not kept."
        )
    return [*parts, *_groups_said(found), *_effects_said(found), *_tests_said(found)]


def _groups_said(found: Audit) -> Iterator[str]:
    frame = found.groups
    if frame.empty:
        return
    compared, worse = frame[frame["verdict"] != FEW], frame[frame["verdict"] == WORSE]
    names = [f"{row.column} = {row.group} ({number(row.gap, 3, sign=True)})" for row in worse.itertuples()]
    metric = frame["metric"].iloc[0]
    said = f"a worse {metric} than the other rows: {listed(names)}" if names else f"a {metric} that is worse beyond chance"
    yield f"Of {plural(len(compared), 'group')} of rows, {len(names) or 'none'} {'have' if len(names) > 1 else 'has'} {said}."


def _effects_said(found: Audit) -> Iterator[str]:
    for row in found.substitutions.itertuples():
        own = found.effects[found.effects["source"] == row.source]
        counts = {verdict: int((own["verdict"] == verdict).sum()) for verdict in (DIFFERS, ALIKE, OPEN)}
        known = sum(counts.values())
        differences = (
            f"; of {plural(known, 'difference')} between groups, {counts[DIFFERS]} beyond the tolerance, {counts[ALIKE]} "
            f"within, {counts[OPEN]} open"
        )
        swapped = f"Other words of {row.source} change" if row.source != "templates" else "Other words in templates change"
        yield f"{swapped} {100 * row.changed:.1f}% of the predictions{differences if known else ''}."


def _tests_said(found: Audit) -> Iterator[str]:
    if not found.tests.empty:
        worst = found.tests.loc[found.tests["passed"].idxmin()]
        yield f"The lowest pass rate of {plural(len(found.tests), 'test')} is {worst['passed']:.3f}, of {worst['test']}."


def _result(found: Audit) -> Section:
    said: list[Part] = [Text(one) for one in sentences(found)]
    notes = [Text(one, warning=True) for one in found.notes]
    return Section("Result", [*said, *([checks_table(found.checks)] if found.checks else []), *notes])


def _groups(found: Audit) -> Section:
    columns = list(dict.fromkeys(found.groups["column"]))
    parts: list[Part] = []
    for column in columns:
        parts.append(groups_table(found.groups[found.groups["column"] == column], found.settings.level))
        if (own := found.balance[found.balance["column"] == column]).size:
            parts.append(balance_table(own, found.split))
    return Section("Groups of rows", parts)


def _substitutions(found: Audit) -> Section:
    if found.substitutions.empty:
        return Section("Swapped words", [])
    how = DISTANCES[str(found.kind)]
    parts: list[Part] = [Text(coverage_sentence(one)) for one in found.coverage if one.found]
    parts.append(substitutions_table(found.substitutions, how))
    parts += [effects_table(found.effects, found.settings)] if not found.effects.empty else []
    sources: Sequence[Any] = found.substitutions["source"].tolist()
    return Section("Swapped words", [*parts, *(examples(found.pairs, source, "distance") for source in sources)])


def _behaviour(found: Audit) -> Section:
    if found.tests.empty:
        return Section("Small changes", [])
    failing = found.tested[~found.tested["passed"].astype(bool)]
    names = [name for name in found.tests["test"] if name in set(failing["source"])]
    return Section("Small changes", [tests_table(found.tests), *(examples(failing, name, "distance") for name in names)])


def _shortcuts(found: Audit) -> Section:
    return Section("Words that decide labels", [shortcuts_table(found.shortcuts, found.split)] if len(found.shortcuts) else [])


def _memory(found: Audit) -> Section:
    if found.memory.empty:
        return Section("What it repeats", [])
    own = [passages_fold(found.passages)] if len(found.passages) else []
    least = found.settings.memorisation.least_words if found.settings.memorisation else 0
    return Section("What it repeats", [memory_table(found.memory, least), *own])
