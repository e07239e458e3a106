"""Tests in the manner of CheckList (Ribeiro et al., 2020): changes that should not matter, and changes that should."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from random import Random
from typing import Any

import pandas as pd

from ftlit.data.rows.cells import is_bracketed
from ftlit.errors import UserError, near
from ftlit.insight.audit.pairs.answers import NUMBER
from ftlit.insight.audit.pairs.compared import Pair
from ftlit.insight.audit.pairs.counterfactual import SEARCHED, language, row_limit
from ftlit.insight.audit.settings import Behaviour, Directional
from ftlit.insight.audit.statistics import share
from ftlit.insight.audit.subject import Row, Subject
from ftlit.insight.audit.texts.changes import CHANGES, Change, appended, negation, typo
from ftlit.insight.audit.texts.edits import Edit, Variant, edited, marked, variant
from ftlit.insight.audit.texts.lexicons import lexicon
from ftlit.insight.audit.texts.substitution import renamed
from ftlit.metrics.entities import located_words

TESTS = ["test", "expected", "rows", "passed", "low", "high"]
SAME = "the same prediction"
Alter = Callable[[Row, Random], Variant | None]


def test_name(test: Directional) -> str:
    """The name of a directional test, such as ``negation lowers good``."""
    return f"{test.change} {'lowers' if test.expect == 'lower' else 'raises'} {test.label or NUMBER}"


def behaviour(subject: Subject, settings: Behaviour, seed: int) -> list[Pair]:
    """The changed rows of all tests.

    Args:
        subject: The run.
        settings: The tests.
        seed: Seed of all draws.

    Raises:
        UserError: A test names a label that the run does not have.
    """
    rows, found = row_limit(settings.rows, subject), list[Pair]()
    for name in settings.invariance:
        found += _pairs(subject, name, _alter(subject, name), rows, seed)
    for test in settings.directional:
        check_label(subject, test)
        change = negation if test.change == "negation" else appended(str(test.text))
        found += _pairs(subject, test_name(test), partial(_changed, subject, change), rows, seed, _movable(subject, test))
    return found


def _movable(subject: Subject, test: Directional) -> set[str] | None:
    """The rows whose score can move as expected: those with the label as prediction, or those without it; None for all."""
    if test.label is None:
        return None
    held = {row["id"]: _held(row["prediction"]) for row in subject.predictions}
    return {name for name, labels in held.items() if (test.label in labels) == (test.expect == "lower")}


def _held(answer: Any) -> list[str]:
    return answer if isinstance(answer, list) else [answer]


def check_label(subject: Subject, test: Directional) -> None:
    """Check that the run has the score that a directional test is about.

    Raises:
        UserError: It has not.
    """
    kind, known = subject.task.evidence, list(getattr(subject.task, "label_names", None) or [])
    where = f"behaviour.directional: {test.change}"
    if kind not in ("labels", "relations", "values"):
        raise UserError(f"{where} is about a score, and {type(subject.task).__name__} has none; leave it out")
    if kind == "values":
        if test.label is not None:
            raise UserError(f"{where} names the label {test.label!r}, but the run predicts a number; leave 'label' out")
    elif test.label not in known:
        fact = "needs the key 'label'" if test.label is None else f"names the label {test.label!r}"
        raise UserError(f"{where} {fact}. {near(str(test.label), known)}")


def _pairs(subject: Subject, name: str, alter: Alter, rows: int, seed: int, only: set[str] | None = None) -> list[Pair]:
    rng, found = Random(seed), list[Pair]()
    for own, cluster, row in islice(subject.shuffled(seed), SEARCHED):
        made = alter(row, rng) if only is None or own in only else None
        if made is not None and subject.accepts(made.row):
            found.append(Pair(name, cluster, "", "", row, made.row, made.shown, made.words))
        if len(found) == rows:
            break
    return found


def _alter(subject: Subject, name: str) -> Alter:
    if name in CHANGES:
        return partial(_changed, subject, CHANGES[name])
    words = lexicon(name, "behaviour.invariance", language(subject))
    return lambda row, rng: renamed(row, words, rng)


def _changed(subject: Subject, change: Change, row: Row, rng: Random) -> Variant | None:
    """A row whose first column is changed: its text, one or all of its words, or the user's last turn of a conversation."""
    name = next(iter(subject.data.input_columns().values()))
    if isinstance(row[name], list) and subject.task.evidence == "tags":
        return _with_words(row, name, change, rng)
    text = _last_of_user(row[name])
    return variant(row, lambda one: change(one, rng) if one is text else [], name)


def _last_of_user(cell: Any) -> str | None:
    """The text of a cell, or in a conversation the last one of the user."""
    if not isinstance(cell, list):
        return cell if isinstance(cell, str) and not is_bracketed(cell) else None  # a conversation in JSON stays as it is
    if cell and isinstance(cell[0], str):
        return cell[(len(cell) - 1) // 2 * 2]  # the user begins, and the turns alternate
    turns = [turn for turn in cell if isinstance(turn, dict) and turn.get("role", turn.get("from")) in ("user", "human")]
    texts = [turn.get("content", turn.get("value")) for turn in turns]
    return texts[-1] if texts and isinstance(texts[-1], str) else None


def _with_words(row: Row, name: str, change: Change, rng: Random) -> Variant | None:
    """A row whose words are changed; none of them is lost or becomes two."""
    new = {i: edited(word, change(word, rng)) for i, word in enumerate(row[name])}
    good = [i for i, word in new.items() if word != row[name][i] and len(word.split()) == 1]
    if not good:
        return None
    chosen = [rng.choice(good)] if change is typo else good
    text, offsets = located_words(row[name])
    shown = marked(text, [Edit(*offsets[i], new[i]) for i in chosen])
    words = [new[i] if i in chosen else word for i, word in enumerate(row[name])]
    return Variant({**row, name: words}, shown, {row[name][i]: new[i] for i in chosen})


def results(frame: pd.DataFrame, settings: Behaviour, level: float) -> pd.DataFrame:
    """The pass rate of each test, with Wilson's interval.

    Args:
        frame: The pairs, from `compared`; gets the column ``passed``.
        settings: The tests.
        level: The chance that an interval is wrong.
    """
    directional = {test_name(test): test for test in settings.directional}
    frame["passed"] = [_passes(row, directional.get(row.source)) for row in frame.itertuples()]
    found = []
    for name, some in frame.groupby("source", sort=False):
        rate = share(some["passed"], some["cluster"].tolist(), level)
        test = directional.get(name)
        expected = f"a {test.expect} score of {test.label or NUMBER}" if test else SAME
        found.append((name, expected, rate.count, rate.value, rate.low, rate.high))
    return pd.DataFrame(found, columns=TESTS)


def _passes(pair: Any, test: Directional | None) -> bool:
    if test is None:
        return not pair.changed
    rise = pair.scores[test.label or NUMBER]
    return bool(rise < 0 if test.expect == "lower" else rise > 0)
