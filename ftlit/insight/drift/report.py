"""The report of drift: sentences, tables and plots."""

import unicodedata
from collections.abc import Sequence

from ftlit.insight.drift.measure import Drift
from ftlit.insight.drift.permutation import DRAWS
from ftlit.insight.drift.plots import distance_figure, length_figure, state_figure
from ftlit.insight.drift.texts import Term
from ftlit.util.render.document import Document, Fold, Part, Section, Table, Text
from ftlit.util.render.formats import NONE, interval, listed, number, p_text, plural, share

FILES = {"drift.html": "the report as a page, with plots", "drift.md": "the report as Markdown", "drift.json": "its numbers"}
LONGEST = 300  # characters of a text in a table
MOST_LABELS = 50  # rows of the table of labels
RANKS = (
    "z is the difference of the log-odds with a prior, divided by its standard deviation (Monroe et al., 2008). It ranks "
    "{kind} and is no test, since {kind} come in bursts."
)
REPLACED = "\ufffd"
BIDIRECTIONAL = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}  # which would turn the text after them around


def shown(text: str, longest: int = LONGEST) -> str:
    """A text of the data for a table: in one line, not too long, and without invisible signs that change how others look."""
    line = " ".join(text[: 4 * longest].split())
    plain = "".join(REPLACED if unicodedata.category(sign) == "Cc" or sign in BIDIRECTIONAL else sign for sign in line)
    return plain if len(plain) <= longest and len(text) <= 4 * longest else f"{plain[:longest].rstrip()} …"


def document(found: Drift) -> Document:
    """The report."""
    sections = [
        Section("Result", [*map(Text, sentences(found)), tests_table(found)]),
        *([Section("Expected accuracy", _accuracy(found))] if found.accuracy or found.truth else []),
        *([Section("Labels", [_labels(found)])] if found.prior else []),
        Section("Texts", _texts(found)),
        Section("Embeddings", [state_figure(found), distance_figure(found), *_unlike_train(found)]),
        Section("What was compared", [_rows(found), *map(Text, [*_sampled(found), *found.left_out])]),
    ]
    lead = f"{shown(found.input)} beside {found.settings.reference}, for a run of {found.task}"
    return Document(f"Drift of {shown(found.run)}", lead, sections, files=FILES)


# Result


def sentences(found: Drift) -> list[str]:
    """The verdict, and the accuracy to expect."""
    return [_verdict(found), *_expectation(found)]


def _verdict(found: Drift) -> str:
    differing = [test.name for test in found.tests if test.differs]
    beside = f"{plural(len(found.tests), 'test')} on the new rows and {found.settings.reference}"
    if not differing:
        seen = [test.name for test in found.tests if test.adjusted < 0.05]
        small = f"; the differences in {listed(seen)} are not chance, but too small to count" if seen else ""
        return f"No drift: {beside} find no difference that counts{small}."
    return f"Drift: {beside} find differences in {listed(differing, len(differing))}."


def _expectation(found: Drift) -> list[str]:
    said = []
    if found.accuracy and found.held_out:
        estimates = [f"{number(one.value, 3)} {interval(*one.interval, 3)} by {one.method}" for one in found.accuracy]
        split, accuracy = found.held_out
        said.append(f"The expected accuracy is {listed(estimates)}; on {split} it is {number(accuracy, 3)}.")
    if found.truth:
        measured = [f"{name} {number(value, 3)}" for name, (value, _) in found.truth.items()]
        said.append(f"Measured on the new rows with their right answers: {listed(measured)}.")
    return said


def tests_table(found: Drift) -> Table:
    """The tests with their effects, p-values and verdicts."""
    columns = ("", "effect", "by chance up to", "counts from", "p", "p, corrected", "verdict", "the effect is the")
    rows = [
        (
            test.name,
            *(number(value, 3) for value in (test.effect, test.chance, test.least)),
            p_text(test.p),
            p_text(test.adjusted),
            "differs" if test.differs else "too small" if test.adjusted < 0.05 else NONE,
            test.measure,
        )
        for test in found.tests
    ]
    notes = [
        f"Each p is the share of {DRAWS + 1:,} divisions of the same rows into two parts, all but one of them random, whose "
        "effect is as large; it is corrected for the number of tests (Holm). With many rows, any difference has a small p, so "
        "a difference counts only from a stated effect on."
    ]
    return Table("Tests", columns, rows, (0, 6, 7), notes)


# Accuracy


def _accuracy(found: Drift) -> list[Part]:
    columns = ("", "accuracy", "95% interval", "mean error on known shifts", "largest error")
    rows = [
        (one.method, number(one.value, 3), interval(*one.interval, 3), number(one.mean_error, 3), number(one.largest_error, 3))
        for one in found.accuracy
    ]
    measured = [
        (f"measured: {name}", number(value, 3), interval(ends[0], ends[1], 3) if ends else NONE, NONE, NONE)
        for name, (value, ends) in found.truth.items()
    ]
    notes = ["The intervals of measured metrics are those of the bootstrap over the rows."] if found.truth else []
    if found.accuracy:
        notes.append(
            "ATC is the share of rows above the certainty that as many labelled rows exceed as are right, DoC the accuracy on "
            "labelled rows plus the difference of the mean confidence. An interval covers the draw of the rows and the "
            "errors on known shifts. A shift of another kind may cause larger errors: no method knows the accuracy after any "
            "shift."
        )
    parts: list[Part] = [Table("Accuracy on the new rows", columns, [*rows, *measured], (0,), notes)]
    return [*parts, _shifts(found)] if found.shifts else parts


def _shifts(found: Drift) -> Table:
    columns = ("shift", "rows", "accuracy", *(one.method for one in found.accuracy))
    rows = [
        (shown(shift.name, 80), f"{shift.rows:,}", *(number(value, 3) for value in (shift.accuracy, *shift.estimates.values())))
        for shift in found.shifts
    ]
    note = f"One half of {_split(found)} was shifted, and its accuracy estimated from the other half."
    return Table("The estimates on known shifts", columns, rows, (0,), [note])


def _labels(found: Drift) -> Table:
    assert found.prior is not None
    columns = ("label", f"share in {_split(found)}", "predicted", "estimated", "95% interval")
    ordered = sorted(found.prior.shares, key=lambda one: -max(one.predicted, one.reference))
    rows = [
        (
            shown(one.label, 80),
            share(one.reference),
            share(one.predicted),
            NONE if one.estimate is None else share(one.estimate),
            NONE if one.interval is None else f"[{share(one.interval[0])}, {share(one.interval[1])}]",
        )
        for one in ordered[:MOST_LABELS]
    ]
    notes = [
        found.prior.problem,
        "Shares are estimated from the predictions and the confusions on labelled rows (BBSE). This holds if the shares of the "
        "labels have changed, and not the texts of each label.",
        f"The table has {MOST_LABELS} of {len(ordered)} labels; drift.json has all." if len(ordered) > MOST_LABELS else "",
    ]
    return Table("Shares of the labels", columns, rows, (0,), [note for note in notes if note])


def _split(found: Drift) -> str:
    """The split whose labels were used."""
    return found.held_out[0] if found.held_out else found.settings.reference


# Texts


def _texts(found: Drift) -> list[Part]:
    reference = found.settings.reference
    counts = Table("Lengths and shares", ("", reference, "new rows"), [
        (row.name, *(f"{value:,.0f}" if "," in row.name else share(value) for value in (row.reference, row.new)))
        for row in found.summary
    ])  # fmt: skip
    scripts = Table(
        "Scripts, by letters",
        ("script", reference, "new rows"),
        [(row.name, share(row.reference), share(row.new)) for row in found.scripts[:10]],
    )
    words, tokens = (_terms(kind, found) for kind in ("words", "tokens"))
    return [counts, length_figure(found), scripts, *words, Fold("Tokens of the backbone", tokens)]


def _terms(kind: str, found: Drift) -> list[Part]:
    """The tables of over- and under-represented words or tokens; one that would be empty is left out."""
    both = zip(("more", "less"), found.terms[kind], strict=True)
    name = f"{kind.capitalize()} that are {{}} frequent in the new rows"
    return [*(_ranked(name.format(how), found, terms) for how, terms in both if terms), Text(RANKS.format(kind=kind))]


def _ranked(caption: str, found: Drift, terms: Sequence[Term]) -> Table:
    rows = [(shown(term.term, 40), f"{term.reference:,}", f"{term.new:,}", number(term.z, 1, sign=True)) for term in terms]
    return Table(caption, ("", f"in {found.settings.reference}", "in the new rows", "z"), rows)


# Embeddings


def _unlike_train(found: Drift) -> list[Part]:
    far = found.distances
    said = (
        f"{share(far.share)} of the new rows are farther from all of {found.rows['train'][0]:,} rows of train than 95% of "
        f"{found.settings.reference}; by chance, 5% would be."
    )
    rows = [(shown(one.text), number(one.distance, 3), shown(one.nearest)) for one in far.farthest]
    columns = ("new row", "distance", "nearest row of train")
    return [Text(said), Table("The new rows that are most unlike train", columns, rows, (0, 2))]


def _rows(found: Drift) -> Table:
    names = {"new": "new rows", "reference": found.settings.reference, "train": "train, to look for known words and neighbours"}
    rows = [(name, *(f"{count:,}" for count in found.rows[key])) for key, name in names.items()]
    return Table("Rows", ("", "compared", "of"), rows)


def _sampled(found: Drift) -> list[str]:
    cut = any(compared < every for compared, every in found.rows.values())
    settings = found.settings
    drawn = f"At most {settings.limit:,} rows of each were drawn at random (--limit, --seed {settings.seed}). " if cut else ""
    return [f"{drawn}Rows are taken to be independent of each other."]
