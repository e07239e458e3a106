"""The file that says what an audit looks at."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ftlit.errors import UserError, near
from ftlit.insight.audit.texts.changes import CHANGES
from ftlit.insight.audit.texts.lexicons import lexicon
from ftlit.insight.audit.texts.templates import check_template
from ftlit.util.arguments.ranges import COUNT, INSIDE, NOT_NEGATIVE, Range
from ftlit.util.arguments.types import settings_object
from ftlit.util.settings import read_yaml

SHARE = Range(least=0, most=1)
INVARIANCE = (*CHANGES, "names", "places")
DIRECTIONAL = ("negation", "append")
NUMBERS = {
    "groups.min_rows": Range(least=2, whole=True),
    **{f"{section}.rows": COUNT for section in ("substitutions", "behaviour")},
    **{f"{section}.tolerance": NOT_NEGATIVE for section in ("substitutions", "templates", "behaviour")},
    "substitutions.versions": COUNT,
    "templates.fills": COUNT,
    "memorisation.least_words": Range(least=3, whole=True),
    "memorisation.rows": COUNT,
    "gate.max_gap": NOT_NEGATIVE,
    "gate.max_changed": SHARE,
    "gate.max_difference": NOT_NEGATIVE,
    "gate.min_pass_rate": SHARE,
    "gate.max_verbatim": SHARE,
    "gate.max_personal": SHARE,
    "level": INSIDE,
}
Limit = float | dict[str, float] | None


@dataclass(frozen=True)
class Groups:
    """Groups of rows that are compared.

    Args:
        columns: Columns of the data; rows with the same value are a group, and numbers are cut into four ranges.
        metric: The metric; by default that which chose the checkpoint.
        min_rows: Number of rows below which a group is not compared.
    """

    columns: list[str] = field(default_factory=list)
    metric: str | None = None
    min_rows: int = 20


@dataclass(frozen=True)
class Substitutions:
    """Texts whose words are swapped for those of another group.

    Args:
        lexicons: Names of lexicons in the package, or files; by default all in the language of the texts.
        rows: Number of rows to change; by default 500, or 50 if the model writes texts.
        versions: The most versions of a row for each lexicon.
        tolerance: The difference of a probability that still counts as none; of a number, in standard deviations.
    """

    lexicons: list[Any] | None = None
    rows: int | None = None
    versions: int = 2
    tolerance: float = 0.05


@dataclass(frozen=True)
class Templates:
    """Texts with slots for words.

    Args:
        texts: The texts, such as `{name} works as a nurse`; or the text of each column.
        lexicons: Lexicon of each slot: its name in the package, a file, or its content.
        fills: The most texts of a template with the same two groups.
        tolerance: As for substitutions.
    """

    texts: list[Any]
    lexicons: dict[str, Any]
    fills: int = 50
    tolerance: float = 0.05


@dataclass(frozen=True)
class Directional:
    """A change that should move a score.

    Args:
        change: `negation`, or `append` for the sentence in `text`.
        label: The label whose score should move; null for a task that predicts a number.
        expect: Whether the score should become `lower` or `higher`.
        text: The sentence.
    """

    change: Literal["negation", "append"]
    label: str | None = None
    expect: Literal["lower", "higher"] = "lower"
    text: str | None = None


@dataclass(frozen=True)
class Behaviour:
    """Tests in the manner of CheckList (Ribeiro et al., 2020).

    Args:
        invariance: Changes that should not change a prediction.
        directional: Changes that should move a score.
        rows: Number of rows to change for each test; by default 500, or 50 if the model writes texts.
        tolerance: By how much a predicted number may change, in standard deviations. Labels may not change at all.
    """

    invariance: list[str] = field(default_factory=lambda: list(INVARIANCE))
    directional: list[Any] = field(default_factory=list)
    rows: int | None = None
    tolerance: float = 0.1


@dataclass(frozen=True)
class Memorisation:
    """What written texts repeat of train; for models that write texts.

    Args:
        least_words: Number of words of the shortest passage that counts; of Chinese, number of characters.
        rows: Number of rows for which the model writes, if the run kept no texts; by default 50.
    """

    least_words: int = 10
    rows: int | None = None


@dataclass(frozen=True)
class Gate:
    """Limits; the command ends with code 3 if one is not kept. A limit is a number, or a number by name.

    Args:
        max_gap: The most by which the metric of a group may differ from that of the other rows; by column.
        max_changed: The largest share of predictions that may change; by lexicon, or `templates`.
        max_difference: The most by which a score may differ between two groups of words on average; by lexicon, or `templates`.
        min_pass_rate: The smallest pass rate; by test.
        max_verbatim: The largest share of written texts with a passage of train.
        max_personal: The largest share of written texts with personal data that were not given.
        certain: Whether a limit counts as exceeded only if the whole interval is beyond it.
    """

    max_gap: Limit = None
    max_changed: Limit = None
    max_difference: Limit = None
    min_pass_rate: Limit = None
    max_verbatim: float | None = None
    max_personal: float | None = None
    certain: bool = False


@dataclass(frozen=True)
class Settings:
    """What an audit looks at. A section that is None is left out.

    Args:
        groups: Groups of rows that are compared.
        substitutions: Texts whose words are swapped.
        templates: Texts with slots.
        behaviour: Tests of small changes.
        memorisation: What written texts repeat of train.
        gate: Limits.
        level: The chance that an interval, or any of those that are corrected together, is wrong.
        seed: Seed of all draws.
    """

    groups: Groups | None = Groups()
    substitutions: Substitutions | None = Substitutions()
    templates: Templates | None = None
    behaviour: Behaviour | None = Behaviour()
    memorisation: Memorisation | None = Memorisation()
    gate: Gate = Gate()
    level: float = 0.05
    seed: int = 0


SECTIONS: dict[str, Any] = {
    "groups": Groups,
    "substitutions": Substitutions,
    "templates": Templates,
    "behaviour": Behaviour,
    "memorisation": Memorisation,
    "gate": Gate,
}


def read_settings(config: str | Path | Mapping[str, Any] | None) -> Settings:
    """Read the settings of an audit.

    Args:
        config: A YAML file, or what it would hold; None for the defaults. A section that it does not name has its defaults,
            and null leaves one out.

    Raises:
        UserError: A key or a value is wrong.
    """
    if config is None:
        return Settings()
    given = dict(config) if isinstance(config, Mapping) else _read(Path(config).expanduser())
    known = [f.name for f in fields(Settings)]
    if unknown := [str(key) for key in given if key not in known]:
        raise UserError(f"the config of the audit has the key {unknown[0]!r}. {near(unknown[0], known)}")
    plain = {name: value for name, value in given.items() if name not in SECTIONS}
    for name, value in plain.items():
        _check_number(name, value)
    made = {name: _section(name, given[name]) for name in SECTIONS if name in given}
    found = replace(settings_object(Settings, "audit", plain), **made)
    _check_gate(found)
    return found


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"--config {str(path)!r} does not exist; expected a YAML file with {', '.join(SECTIONS)}")
    return read_yaml(path)


def _section(name: str, given: Any) -> Any:
    """A section of the file; None if it is left out."""
    if given is None:
        return Gate() if name == "gate" else None
    found = settings_object(SECTIONS[name], name, given)
    for key, value in vars(found).items():
        _check_number(f"{name}.{key}", value)
    if isinstance(found, Behaviour):
        return _behaviour(found)
    if isinstance(found, Templates):
        _check_templates(found)
    if isinstance(found, Substitutions):
        for i, one in enumerate(found.lexicons or []):
            lexicon(one, f"substitutions.lexicons[{i}]", "en")
    return found


def _check_number(key: str, value: Any) -> None:
    allowed = NUMBERS.get(key)
    if allowed is not None and value is not None and not allowed.accepts(value):
        raise UserError(f"{key} must be {allowed}, got {value!r}")


def _behaviour(given: Behaviour) -> Behaviour:
    if unknown := [name for name in given.invariance if name not in INVARIANCE]:
        raise UserError(f"behaviour.invariance has {unknown[0]!r}. {near(unknown[0], INVARIANCE)}")
    tests = [settings_object(Directional, f"behaviour.directional[{i}]", one) for i, one in enumerate(given.directional)]
    for i, test in enumerate(tests):
        if (test.change == "append") != (test.text is not None):
            fact = "needs the key 'text', the sentence" if test.text is None else "has a 'text', which only append takes"
            raise UserError(f"behaviour.directional[{i}] {fact}")
    return replace(given, directional=tests)


def _check_templates(given: Templates) -> None:
    if not given.texts:
        raise UserError("templates.texts lists no template, such as '{name} works as a nurse'")
    for i, text in enumerate(given.texts):
        where = f"templates.texts[{i}]"
        if not isinstance(text, str) and not (isinstance(text, dict) and all(isinstance(part, str) for part in text.values())):
            raise UserError(f"{where} should be a text, or the text of each column, got {text!r}; put texts with {{ in quotes")
        check_template(text, given.lexicons, where)
    for slot, one in given.lexicons.items():
        lexicon(one, f"templates.lexicons.{slot}", "en")


def _check_gate(settings: Settings) -> None:
    """Check that each limit has something to limit, as far as the settings tell."""
    gate = settings.gate
    if gate.max_gap is not None and not (settings.groups and settings.groups.columns):
        raise UserError("gate.max_gap needs groups.columns, the columns whose groups are compared")
    if not settings.substitutions and not settings.templates:
        for name in ("max_changed", "max_difference"):
            if getattr(gate, name) is not None:
                raise UserError(f"gate.{name} needs substitutions or templates, which are left out")
    if not settings.memorisation and (gate.max_verbatim, gate.max_personal) != (None, None):
        raise UserError("gate.max_verbatim and gate.max_personal need memorisation, which is left out")
    if gate.min_pass_rate is not None and not settings.behaviour:
        raise UserError("gate.min_pass_rate needs behaviour, which is left out")
