"""Where arms differ: by class, by input length, and on single examples."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ftlit.commands.report import confusion_rows
from ftlit.metrics.evidence.rows import answer_text
from ftlit.study.report.content.curves import shown_note
from ftlit.study.report.content.examples import BlockExamples, by_label, disputed, thirds
from ftlit.study.report.content.numbers import BlockSummary, Numbers
from ftlit.util.label_sets import SHOWN_LABELS
from ftlit.util.render.document import Fold, Part, Section, Table, Text
from ftlit.util.render.formats import number, plural, share, shortened

ARMS, CLASSES, EXAMPLES, SETTINGS = 8, 12, 10, 6


def breakdown(numbers: Numbers) -> Section:
    """Tables by class and by input length for each setting."""
    parts: list[Part] = []
    for summary, examples in _with_examples(numbers):
        arms = summary.arms_to_show(numbers.study.compare.baseline, 3 * ARMS)
        parts += [*_classes(summary, examples, arms), *_lengths(numbers, summary, examples, arms)]
        parts += _confusions(numbers, summary, examples)
    return Section("Results by class and input length", parts, essential=False)


def _with_examples(numbers: Numbers) -> list[tuple[BlockSummary, BlockExamples]]:
    return [(summary, summary.paired.examples) for summary in numbers.blocks if summary.estimates and summary.paired.examples][
        :SETTINGS
    ]


def _classes(summary: BlockSummary, examples: BlockExamples, arms: Sequence[str]) -> list[Table]:
    """The share of right predictions for each class and arm."""
    parts = by_label(examples, CLASSES)
    if not parts or examples.right is None:
        return []
    means = {label: examples.right[examples.arms.index(label)] for label in arms}
    rows = [[label, *(share(float(means[label][part].mean())) for part in parts.values())] for label in arms]
    heads = [f"{name} ({len(part):,})" for name, part in parts.items()]
    kinds = len({str(label) for label in examples.labels})
    more = f" Only the {len(parts)} most frequent of {kinds} classes are shown." if len(parts) < kinds else ""
    note = f"Means over seeds, with the number of examples in parentheses.{more}{shown_note(summary, len(arms))}"
    return [Table(f"Accuracy within each class{summary.block.caption_suffix}", ["arm", *heads], rows, notes=[note])]


def _lengths(numbers: Numbers, summary: BlockSummary, examples: BlockExamples, arms: Sequence[str]) -> list[Table]:
    """The metric on short, medium and long inputs."""
    parts, evidence = thirds(examples), summary.paired.evidence
    if not parts or next(iter(evidence.values())).examples != len(examples.texts):
        return []
    rows = []
    for label in arms:
        counts, score = evidence[label].counts, evidence[label].score
        values = [float(np.mean(score(counts[:, part].sum(axis=1).astype(float)))) for part in parts.values()]
        rows.append([label, *(number(value, numbers.decimals) for value in values)])
    heads = [f"{name} ({len(part):,})" for name, part in parts.items()]
    note = (
        f"Means over seeds; length in characters, with the number of examples in parentheses.{shown_note(summary, len(arms))}"
    )
    return [Table(f"{numbers.metric} by input length{summary.block.caption_suffix}", ["arm", *heads], rows, notes=[note])]


def _confusions(numbers: Numbers, summary: BlockSummary, examples: BlockExamples) -> list[Fold]:
    """Which classes each arm takes for which others."""
    if not examples.confusions:
        return []
    arms = summary.arms_to_show(numbers.study.compare.baseline, ARMS)
    tables = [confusion_table(arm, examples.confusions[arm]) for arm in arms]
    text = Text(f"Counts are summed over the seeds of an arm.{shown_note(summary, len(arms))}")
    return [Fold(f"Confusion of classes by arm{summary.block.caption_suffix}", [text, *tables])]


def confusion_table(arm: str, counts: Counter[tuple[str, str]]) -> Table:
    """The confusion matrix of an arm, or the pairs of classes that it confuses most often if there are many classes."""
    caption, names = f"Confusion of {arm}", sorted({name for pair in counts for name in pair})
    if len(names) > SHOWN_LABELS:
        wrong = sorted((-count, *pair) for pair, count in counts.items() if pair[0] != pair[1])[:SHOWN_LABELS]
        rows = [[true, said, str(-count)] for count, true, said in wrong]
        return Table(
            caption, ["true", "predicted", "count"], rows, (0, 1), [f"The commonest of {len(names)} classes' confusions."]
        )
    matrix = [[counts[true, said] for said in names] for true in names]
    head, *cells = confusion_rows({"confusion": matrix, "labels": names})
    return Table(caption, head, [list(map(str, row)) for row in cells])


def disagreements(numbers: Numbers) -> Section:
    """The examples on which arms disagree most."""
    parts: list[Part] = []
    for summary, examples in _with_examples(numbers):
        arms = summary.arms_to_show(numbers.study.compare.baseline, ARMS)
        if found := disputed(examples, arms, EXAMPLES):
            parts.append(_examples(examples, found, arms, summary))
    if parts:
        text = (
            "The table shows the examples on which the arms differ most, with the share of each arm's seeds that predict them "
            "correctly."
        )
        parts.insert(0, Text(text))
    return Section("Where arms disagree", parts, essential=False)


def _examples(examples: BlockExamples, found: Sequence[int], arms: Sequence[str], summary: BlockSummary) -> Table:
    shares = examples.shares(arms)
    rows = [
        [shortened(examples.texts[i]), shortened(answer_text(examples.labels[i])), *map(share, shares[:, i].tolist())]
        for i in found
    ]
    note = f"{plural(len(found), 'example')} of {len(examples.texts):,}.{shown_note(summary, len(arms))}"
    return Table(f"Examples{summary.block.caption_suffix}", ["input", "label", *arms], rows, words=(0, 1), notes=[note])
