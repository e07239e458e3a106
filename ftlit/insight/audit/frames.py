"""``ftlit.audit``: what an audit finds, as data frames."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ftlit.insight.audit.gate import Check, Findings, checked
from ftlit.insight.audit.memory.written import MEMORY, PASSAGES, PERSONAL, VERBATIM, memory
from ftlit.insight.audit.pairs.behaviour import TESTS, behaviour, results, test_name
from ftlit.insight.audit.pairs.compared import EFFECTS, PAIRS, SUMMARY, Pair, compared, effects, outcomes, summary
from ftlit.insight.audit.pairs.counterfactual import TEMPLATES, Coverage, lexicons_of, row_limit, substitutions, templates
from ftlit.insight.audit.rows.balance import BALANCE, has_labels, label_balance
from ftlit.insight.audit.rows.groups import GROUPS, group_metrics
from ftlit.insight.audit.rows.shortcuts import LEANS, SHOWN, TIES, removals, tied_words, train_words, with_leaning
from ftlit.insight.audit.settings import Behaviour, Settings, read_settings
from ftlit.insight.audit.subject import Subject

SUBSTITUTED, FILLED, TESTED, REMOVED = "substitutions", "templates", "behaviour", "removals"


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        run: Name of the run.
        task: Name of its task.
        kind: Kind of evidence that its predictions are.
        split: The split whose rows were used.
        settings: What was looked at.
        groups: A row for each group of rows: its metric, and the gap to the other rows.
        balance: A row for each group and label: its shares in train, in the right answers and in the predictions.
        coverage: How many rows have words of each lexicon.
        substitutions: A row for each lexicon, and one for templates: how much answers change.
        effects: A row for each two groups of words and each score: by how much it differs.
        pairs: A row for each pair of texts of substitutions and templates.
        tests: A row for each test of behaviour: its pass rate.
        tested: A row for each text of a test.
        shortcuts: A row for each word that is tied to a label in train, and how much the model leans on it.
        checks: The limits of the gate.
        memory: A row for passages of train and each kind of personal data: how many written texts have them.
        passages: A row for each written text with a passage of train.
        notes: What could not be looked at, and why.
    """

    run: str
    task: str
    kind: str | None
    split: str
    settings: Settings
    groups: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=GROUPS))
    balance: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=BALANCE))
    coverage: list[Coverage] = field(default_factory=list)
    substitutions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SUMMARY))
    effects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EFFECTS))
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIRS))
    tests: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=TESTS))
    tested: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*PAIRS, "passed"]))
    shortcuts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*TIES, *LEANS]))
    checks: list[Check] = field(default_factory=list)
    memory: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=MEMORY))
    passages: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PASSAGES))
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all limits of the gate are kept."""
        return all(check.kept for check in self.checks)


def audit(
    run: str | Path, config: str | Path | dict[str, Any] | None = None, split: str | None = None, batch_size: int | None = None,
    **options: Any,
) -> Audit:  # fmt: skip
    """Audit a finished run: groups of rows, swapped words, small changes of texts, and words that decide labels.

    Args:
        run: Folder of the run.
        config: What to look at: a YAML file or its content. By default what needs no settings.
        split: `test` or `validation`; by default test if the run was evaluated on it.
        batch_size: Number of texts per batch; by default what suits the device.
        **options: `checkpoint`, `device`, `trust_remote_code` and `trust_classes`, as for `ftlit.load`.

    Raises:
        UserError: A setting is wrong, or there is no finished run.
    """
    settings = read_settings(config)
    subject = Subject(run, split, batch_size, **options)
    found = Audit(subject.name, type(subject.task).__name__, subject.task.evidence, subject.split, settings)
    _look_at_rows(subject, found)
    _look_at_pairs(subject, found)
    if settings.memorisation and subject.writes and "train" in subject.data.rows:
        rows = row_limit(settings.memorisation.rows, subject)
        found.memory, found.passages = memory(subject, settings.memorisation, rows, settings.level)
    parts = Findings(found.groups, found.substitutions, found.effects, found.tests, found.memory)
    found.checks = checked(settings.gate, parts, _names(subject, settings))
    return found


def _look_at_rows(subject: Subject, found: Audit) -> None:
    groups, level = found.settings.groups, found.settings.level
    if groups and groups.columns:
        found.groups = group_metrics(subject, groups, level)
        if has_labels(subject):
            found.balance = label_balance(subject, groups, level)
    if has_labels(subject) and "train" in subject.data.rows:
        found.shortcuts = tied_words(train_words(subject), level).head(SHOWN)


def _look_at_pairs(subject: Subject, found: Audit) -> None:
    """Make all pairs of texts, have them answered at once, and compare the answers."""
    settings = found.settings
    if not subject.is_comparable:
        found.notes.append(f"{found.task} gives no answers that can be compared, so no texts were changed.")
        return
    if getattr(getattr(subject.task, "generation", None), "do_sample", False):
        found.notes.append("The model samples what it writes, so that answers differ by chance, too.")
    sections: dict[str, tuple[list[Pair], float]] = {}
    if settings.substitutions:
        pairs, found.coverage = substitutions(subject, settings.substitutions, settings.seed)
        sections[SUBSTITUTED] = (pairs, settings.substitutions.tolerance)
    if settings.templates:
        sections[FILLED] = (templates(subject, settings.templates, settings.seed), settings.templates.tolerance)
    if settings.behaviour:
        sections[TESTED] = (behaviour(subject, settings.behaviour, settings.seed), settings.behaviour.tolerance)
    sections[REMOVED] = (removals(subject, found.shortcuts["word"], settings.seed), 0.0)
    frames = compared(subject, sections)
    for name in (SUBSTITUTED, FILLED):
        if name in frames:
            _add_pairs(subject, found, frames[name], sections[name][1])
    if settings.behaviour:
        found.tested = frames[TESTED]
        found.tests = results(found.tested, settings.behaviour, settings.level)
    found.shortcuts = with_leaning(found.shortcuts, frames[REMOVED], settings.level)
    _note_missing(found)


def _add_pairs(subject: Subject, found: Audit, frame: pd.DataFrame, tolerance: float) -> None:
    level = found.settings.level
    rises = effects(frame, outcomes(subject, frame), tolerance, level)
    found.pairs = _joined(found.pairs, frame)
    found.substitutions = _joined(found.substitutions, summary(frame, level))
    found.effects = _joined(found.effects, rises)


def _joined(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return other if one.empty else one if other.empty else pd.concat([one, other], ignore_index=True)


def _note_missing(found: Audit) -> None:
    if lacking := [one.source for one in found.coverage if not one.found]:
        found.notes.append(f"No row of {found.split} has words of one group of {', '.join(lacking)}.")
    tests = set(found.settings.behaviour.invariance) if found.settings.behaviour else set()
    if lacking := sorted(tests - set(found.tests["test"])):
        found.notes.append(f"No row of {found.split} could be changed for {', '.join(lacking)}.")


def _names(subject: Subject, settings: Settings) -> dict[str, list[str]]:
    """What each limit of the gate may be given for."""
    words = [one.name for one in lexicons_of(subject, settings.substitutions)] if settings.substitutions else []
    words += [TEMPLATES] if settings.templates else []
    tests = _tests(settings.behaviour) if settings.behaviour else []
    columns = settings.groups.columns if settings.groups else []
    return {"max_gap": columns, "max_changed": words, "max_difference": words, "min_pass_rate": tests,
            "max_verbatim": [VERBATIM], "max_personal": [PERSONAL]}  # fmt: skip


def _tests(settings: Behaviour) -> list[str]:
    return [*settings.invariance, *map(test_name, settings.directional)]
