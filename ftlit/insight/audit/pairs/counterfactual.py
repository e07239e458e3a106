"""Counterfactual pairs: rows with words of another group, and templates filled with words of two groups."""

from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from ftlit.errors import UserError
from ftlit.insight.audit.pairs.compared import Pair
from ftlit.insight.audit.settings import Substitutions, Templates
from ftlit.insight.audit.subject import Row, Subject
from ftlit.insight.audit.texts.lexicons import Lexicon, built_in, language_of, lexicon
from ftlit.insight.audit.texts.substitution import other_groups, substituted, texts_in, words_in
from ftlit.insight.audit.texts.templates import Filled, Template, filled

ROWS, WRITTEN_ROWS = 500, 50  # rows that are changed, of models that label texts, and of those that write them
SEARCHED = 100_000  # rows that are searched for the words of a lexicon
SAMPLE = 200  # rows that tell the language
TEMPLATES = "templates"  # the source of their pairs


@dataclass(frozen=True)
class Coverage:
    """How many rows have words of a lexicon.

    Args:
        source: Name of the lexicon.
        searched: Number of rows that were searched.
        found: Those with words of one group.
        mixed: Those with words of several groups, which are left out, since they belong to no group.
    """

    source: str
    searched: int
    found: int
    mixed: int


def row_limit(given: int | None, subject: Subject) -> int:
    """The number of rows to change."""
    return given or (WRITTEN_ROWS if subject.writes else ROWS)


def language(subject: Subject) -> str:
    """The language of the texts of a run."""
    return language_of(text for _, _, row in islice(subject.shuffled(0), SAMPLE) for text in texts_in(row))


def lexicons_of(subject: Subject, settings: Substitutions) -> list[Lexicon]:
    """The lexicons of an audit, by default those of the package in the language of the texts."""
    own = language(subject)
    found = [lexicon(one, f"substitutions.lexicons[{i}]", own) for i, one in enumerate(settings.lexicons or built_in(own))]
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"substitutions.lexicons: two lexicons are called {twice[0]!r}; give one another name with its key 'name'"
        )
    return found


def substitutions(subject: Subject, settings: Substitutions, seed: int) -> tuple[list[Pair], list[Coverage]]:
    """Rows of the split with words of other groups.

    Args:
        subject: The run.
        settings: Lexicons, and how many rows to change.
        seed: Seed of all draws.
    """
    pairs, coverage = list[Pair](), list[Coverage]()
    for words in lexicons_of(subject, settings):
        some, covered = _pairs(subject, words, row_limit(settings.rows, subject), settings.versions, seed)
        pairs, coverage = pairs + some, [*coverage, covered]
    return pairs, coverage


def _pairs(subject: Subject, words: Lexicon, rows: int, versions: int, seed: int) -> tuple[list[Pair], Coverage]:
    rng, pairs, counts = Random(seed), list[Pair](), {"searched": 0, "found": 0, "mixed": 0}
    for _, cluster, row in islice(subject.shuffled(seed), SEARCHED):
        own = words_in(row, words)
        groups = {word.group for word in own}
        counts["searched"] += 1
        counts["mixed"] += len(groups) > 1
        if len(groups) == 1:
            others = other_groups(own, words)
            chosen = rng.sample(others, min(versions, len(others)))
            made = [pair for other in chosen if (pair := _pair(subject, words, row, cluster, (own[0].group, other), rng))]
            pairs, counts["found"] = pairs + made, counts["found"] + bool(made)
        if counts["found"] == rows:
            break
    return pairs, Coverage(words.name, **counts)


def _pair(subject: Subject, words: Lexicon, row: Row, cluster: Any, groups: tuple[str, str], rng: Random) -> Pair | None:
    made = substituted(row, words, groups[1], rng)
    if made is None or not subject.accepts(made.row):
        return None
    return Pair(words.name, cluster, *groups, row, made.row, made.shown, made.words)


def templates(subject: Subject, settings: Templates, seed: int) -> list[Pair]:
    """Templates filled with words of two groups.

    Args:
        subject: The run.
        settings: Templates, and a lexicon for each slot.
        seed: Seed of all draws.

    Raises:
        UserError: A template does not fit the columns of the run.
    """
    own = language_of(part for text in settings.texts for part in texts_in(text))
    slots = {slot: lexicon(one, f"templates.lexicons.{slot}", own) for slot, one in settings.lexicons.items()}
    found = list(filled(settings.texts, slots, settings.fills, Random(seed)))
    words_decide = len({one.words for one in found}) > len(settings.texts)  # else the texts are the independent values
    return [_from_template(subject, one, one.words if words_decide else one.template) for one in found]


def _from_template(subject: Subject, made: Filled, cluster: Any) -> Pair:
    before, after = (_row(subject, text, made.template) for text in made.texts)
    return Pair(TEMPLATES, cluster, *made.groups, before, after, made.shown, dict([made.words]))


def _row(subject: Subject, text: Template, number: int) -> Row:
    given = subject.data.row_from_text(text) if isinstance(text, str) else text
    problem = "it is one text" if given is None else subject.data.validate_inputs(given)
    if given is None or problem:
        columns = ", ".join(subject.data.input_columns().values())
        raise UserError(f"templates.texts[{number}] is no row of this run, which needs {columns}: {problem}")
    return given
