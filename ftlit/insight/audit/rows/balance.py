"""Labels by group: in train, in the split, and in what the model predicts."""

from collections import Counter
from typing import Any

import pandas as pd

from ftlit.insight.audit.rows.groups import grouper, row_ids
from ftlit.insight.audit.settings import Groups
from ftlit.insight.audit.statistics import mean, share
from ftlit.insight.audit.subject import Subject

BALANCE = ["column", "group", "label", "train", "train_low", "train_high", "right", "predicted", "excess", "low", "high"]
MOST_LABELS = 12  # of which the shares are shown, the most frequent ones


def has_labels(subject: Subject) -> bool:
    """Whether the run predicts labels of texts."""
    return subject.task.evidence in ("labels", "relations")


def label_balance(subject: Subject, settings: Groups, level: float) -> pd.DataFrame:
    """The share of each label in each group: of train, of the right answers of the split, and of the predictions.

    Args:
        subject: The run.
        settings: Columns.
        level: The chance that an interval is wrong.

    Returns:
        A row for each group and label. ``excess`` is the share in the predictions minus that in the right answers, whose
        intervals hold together within a column (Bonferroni).
    """
    found = []
    train = _train_answers(subject)
    for column in settings.columns:
        values = subject.column(column, row_ids(subject))
        group = grouper(values, column)
        of_train = [group(value) for value in subject.column(column, list(train))] if train else []
        names = list(map(group, values))
        found += _column(subject, column, names, of_train, list(train.values()), level)
    return pd.DataFrame(found, columns=BALANCE)


def _train_answers(subject: Subject) -> dict[str, Any]:
    """The right answer of each row of train by its id."""
    if "train" not in subject.data.rows:
        return {}
    return {row["row_id"]: subject.data.reference(row) for row in subject.data.rows["train"]}


def _column(
    subject: Subject, column: str, names: list[str], of_train: list[str], answers: list[Any], level: float
) -> list[tuple[Any, ...]]:
    rows, found = subject.predictions, []
    right, said = ([_held(row[key]) for row in rows] for key in ("label", "prediction"))
    labels = [label for label, _ in Counter(label for held in right for label in held).most_common(MOST_LABELS)]
    groups = list(dict.fromkeys(sorted(names)))
    members = {group: list[int]() for group in groups}
    for i, name in enumerate(names):
        members[name].append(i)
    for group, own in members.items():
        clusters = [_document(rows[i], i) for i in own]
        taught = [_held(answer) for answer, name in zip(answers, of_train, strict=True) if name == group]
        for label in labels:
            learned = share([label in held for held in taught], range(len(taught)), level)
            one, other = ([label in held[i] for i in own] for held in (right, said))
            excess = mean([b - a for a, b in zip(one, other, strict=True)], clusters, level / (len(groups) * len(labels)))
            shares = (sum(one) / len(own), sum(other) / len(own))
            found.append(
                (column, group, label, learned.value, learned.low, learned.high, *shares, excess.value, excess.low, excess.high)
            )
    return found


def _held(answer: Any) -> list[str]:
    return answer if isinstance(answer, list) else [answer]


def _document(row: dict[str, Any], i: int) -> Any:
    return i if row.get("group") is None else ("group", row["group"])
