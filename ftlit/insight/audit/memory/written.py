"""What the texts that a model writes have in common with train, as data frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from ftlit.insight.audit.memory.passages import TrainPassages
from ftlit.insight.audit.memory.personal import KINDS, personal_data
from ftlit.insight.audit.settings import Memorisation
from ftlit.insight.audit.statistics import share
from ftlit.insight.audit.subject import Row, Subject
from ftlit.insight.audit.texts.substitution import texts_in

MEMORY = ["what", "texts", "found", "share", "low", "high", "of_right", "in_train"]
PASSAGES = ["words", "passage", "text", "of_train"]
TRAIN_ROWS = 50_000  # that are read
VERBATIM, PERSONAL = "passages of train", "personal data"
LONGEST = 200  # characters of a text in the report


@dataclass(frozen=True)
class Written:
    """A text that the model wrote.

    Args:
        text: The text.
        given: The texts that it read.
        right: The right answers, as they are known.
    """

    text: str
    given: list[str]
    right: list[str]


def written_texts(subject: Subject, rows: int) -> list[Written]:
    """The texts that the run wrote for rows of the split; if it kept none, texts that the model writes now.

    Args:
        subject: The run.
        rows: Number of rows for which the model writes.
    """
    names = set(subject.data.input_columns().values())
    kept = [row for row in subject.predictions if isinstance(row.get("prediction"), str)]
    if kept:
        return [_written(row["prediction"], {name: row[name] for name in names & row.keys()}, row.get("label")) for row in kept]
    given = [row for _, _, row in islice(subject.shuffled(0), rows)]
    return [_written(answer["prediction"], row, None) for answer, row in zip(subject.answers(given), given, strict=True)]


def _written(text: str, row: Row, label: Any) -> Written:
    return Written(text, texts_in(row), texts_in(label))


def train_texts(subject: Subject) -> Iterator[str]:
    """All texts of train, those that are read and those to write."""
    rows = subject.data.rows["train"]
    names = [name for name in dict.fromkeys(subject.data.columns().values()) if name in rows.column_names]
    for row in islice(rows, TRAIN_ROWS):
        yield from texts_in([row[name] for name in names])


def memory(subject: Subject, settings: Memorisation, rows: int, level: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many written texts have a passage of train, or personal data.

    Args:
        subject: The run.
        settings: Length of a passage.
        rows: Number of rows for which the model writes, if the run kept no texts.
        level: The chance that an interval is wrong.

    Returns:
        A row for passages, for each kind of personal data and for all of them: the number of texts that have it, the share with
        Wilson's interval, the share of right answers that have it, and in how many texts it is from train. And a row for each
        text with a passage.
    """
    train = list(train_texts(subject))
    index, texts = TrainPassages(train, settings.least_words), written_texts(subject, rows)
    found = [index.longest(one.text, one.given) for one in texts]
    right = [any(index.longest(answer, one.given) for answer in one.right) for one in texts if one.right]
    same = share([one is not None for one in found], range(len(texts)), level)
    count = sum(one is not None for one in found)
    summary = [(VERBATIM, len(texts), count, same.value, same.low, same.high, _rate(right), count)]
    passages = [
        (len(one.words), " ".join(one.words), text.text[:LONGEST], train[one.text][:LONGEST])
        for one, text in zip(found, texts, strict=True)
        if one is not None
    ]
    passages.sort(key=lambda row: -row[0])
    whole = pd.DataFrame([*summary, *_personal(texts, train, level)], columns=MEMORY)
    return whole, pd.DataFrame(passages, columns=PASSAGES)


def _personal(texts: list[Written], train: list[str], level: float) -> Iterator[tuple[Any, ...]]:
    known = {one for text in train for one in personal_data(text)}
    own = [set(personal_data(one.text)) - {data for text in one.given for data in personal_data(text)} for one in texts]
    right = [{data for text in one.right for data in personal_data(text)} for one in texts if one.right]
    for kind in (*KINDS, PERSONAL):
        some, others = ([{one for one in held if kind in (one.kind, PERSONAL)} for held in sets] for sets in (own, right))
        rate = share([bool(held) for held in some], range(len(some)), level)
        in_train = sum(bool(held & known) for held in some)
        hits = sum(map(bool, some))
        yield kind, len(some), hits, rate.value, rate.low, rate.high, _rate(list(map(bool, others))), in_train


def _rate(hits: list[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")
