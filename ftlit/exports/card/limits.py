"""The part of a model card about limits: only what the run itself has recorded."""

from collections.abc import Iterator
from typing import Any

from ftlit.exports.card.data import label_counts
from ftlit.exports.card.metadata import backbone_card, languages
from ftlit.exports.card.subject import Subject
from ftlit.util.label_sets import MANY_LABELS
from ftlit.util.render.formats import listed, plural, share
from ftlit.util.render.markdown import escaped

FEW_ROWS = 20  # of a label in train
SHOWN = 3  # confusions, labels
UNKNOWN = 0.01  # share of unknown tokens that is worth a sentence
AVERAGES = ("micro", "macro", "weighted")


def limits_section(subject: Subject) -> str:
    """What the model was trained and evaluated on, and where its run has found it weak."""
    parts = (_evaluation, _precision, _lengths, _language, _unknown, _labels, _confusions, _overlap, _warnings)
    sentences = [sentence for part in parts for sentence in part(subject)]
    return "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)


def _evaluation(subject: Subject) -> Iterator[str]:
    rows = {split: found.get("rows", 0) for split, found in subject.splits.items()}
    trained = f"Trained on {plural(rows.get('train', 0), 'row')} of `{subject.dataset}`"
    if subject.split is None:
        yield f"{trained}. These weights, which are not those of the run's best checkpoint, have not been evaluated."
    else:
        tried = plural(rows.get(subject.split, 0), "row")
        yield f"{trained} and evaluated on {tried} of {subject.split}; no other texts were tried."
    if subject.split == "validation":
        yield "There are no results on test. Those on validation chose the checkpoint, so they are likely too good."


def _precision(subject: Subject) -> Iterator[str]:
    """How exactly the metric is known that chose the checkpoint, and what a model reaches that reads no text."""
    split = subject.split or ""
    known = subject.results.get("intervals", {}).get(split, {})
    metric = subject.task.monitor.rpartition("/")[2]
    metric = metric if metric in known else next(iter(known), metric)
    if ends := known.get(metric):
        rows = plural(subject.splits.get(split, {}).get("rows", 0), "row")
        yield (
            f"With {rows} of {split}, {metric} is known to lie between {ends[0]:.4f} and {ends[1]:.4f} (95%). The interval is "
            "about these weights on new rows of the same kind, not about another seed or other data."
        )
    baseline = subject.results.get("baseline", {}).get(split, {}).get(metric)
    if baseline is not None:
        yield f"A baseline that reads no text has {metric} {baseline:.4f} on {split}."


def _lengths(subject: Subject) -> Iterator[str]:
    cut = {split: found["truncated"] for split, found in subject.splits.items() if found.get("truncated")}
    told = listed(f"{share(value)} of {split}" for split, value in cut.items()) + " were longer" if cut else "none was longer"
    yield f"Inputs are cut after {plural(subject.data.max_length, 'token')}; of the examples of the run, {told}."


def _language(subject: Subject) -> Iterator[str]:
    known = languages(subject, {})
    if known:
        yield f"The config of the data names the languages {listed(known)}; others were not tried."
        return
    own = languages(subject, backbone_card(str(subject.run.record["backbone"]), subject.base))
    told = f"; the backbone's card names {own[0]}" if own else ""
    yield f"The run does not record the language of its texts{told}."


def _unknown(subject: Subject) -> Iterator[str]:
    """The largest share of tokens of a column that the tokenizer does not know."""
    lengths = [subject.splits.get(split or "", {}).get("lengths") or {} for split in ("train", subject.split)]
    most = max((part.get("unknown") or 0.0 for parts in lengths for part in parts.values()), default=0.0)
    if most >= UNKNOWN:
        yield f"Up to {share(most)} of the tokens of a column are unknown to the tokenizer."


def _labels(subject: Subject) -> Iterator[str]:
    """Labels with few rows, and those with the lowest F1."""
    counts = label_counts(subject).get("train", {})
    few = [f"`{name}` ({count})" for name, count in counts.items() if count < FEW_ROWS]
    if few:
        yield f"Labels with fewer than {FEW_ROWS} rows of train: {listed(few)}."
    scores = [row for row in subject.report.get("per_class", []) if row["label"] not in AVERAGES and row["support"]]
    low = sorted(scores, key=lambda row: row["f1"])[:SHOWN]
    if len(scores) > 1 and low[0]["f1"] < 1:
        told = listed(f"`{row['label']}` {row['f1']:.3f} ({plural(row['support'], 'row')})" for row in low if row["f1"] < 1)
        yield f"Lowest F1 on {subject.split}: {told}."


def _confusions(subject: Subject) -> Iterator[str]:
    matrix, labels = subject.report.get("confusion"), subject.report.get("labels", [])
    if not matrix:
        return
    several = isinstance(matrix, list) and isinstance(matrix[0][0], list)
    found = _missed(matrix, labels) if several else _pairs(matrix, labels)
    if found:
        yield f"Most frequent confusions on {subject.split}: {listed(found[:SHOWN])}."


def _pairs(matrix: Any, labels: list[str]) -> list[str]:
    """True and predicted labels that differ, the most frequent first; of more than `MANY_LABELS`, cells are listed."""
    if isinstance(matrix, dict):
        cells = list(zip(matrix["true"], matrix["predicted"], matrix["count"], strict=True))
    else:
        cells = [(i, j, count) for i, row in enumerate(matrix) for j, count in enumerate(row) if count]
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])[:MANY_LABELS]
    totals = {i: sum(count for true, _, count in cells if true == i) for i in {cell[0] for cell in wrong}}
    return [f"`{labels[i]}` taken for `{labels[j]}` in {count} of {totals[i]} rows" for i, j, count in wrong]


def _missed(matrix: list[Any], labels: list[str]) -> list[str]:
    """Labels of a task with several for each text, by the number of texts without them that should have them."""
    missed = [(name, cells[1][0], sum(cells[1])) for name, cells in zip(labels, matrix, strict=True) if cells[1][0]]
    worst = sorted(missed, key=lambda one: -one[1])
    return [f"`{name}` missed in {count} of {total} rows" for name, count, total in worst]


def _overlap(subject: Subject) -> Iterator[str]:
    found = (subject.run.record.get("data") or {}).get("overlap", {}).get(subject.split) or {}
    if found.get("exact") or found.get("near"):
        exact, near = found.get("exact", 0), found.get("near", 0)
        yield f"Rows of {subject.split} that are in train, too: {exact} exactly, {near} nearly. Results may be too good."


def _warnings(subject: Subject) -> Iterator[str]:
    yield from (escaped(sentence) for sentence in (subject.run.record.get("data") or {}).get("warnings", []))
