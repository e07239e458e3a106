"""The design of a study: what varies, what each arm could choose, and which data were used for what."""

from collections.abc import Iterable
from typing import Any

from ftlit.runs.reading import RunFolder
from ftlit.study.plan.axes import label_of
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.report.content.warnings import warnings
from ftlit.study.sequential.texts import looks_table, looks_text, seeds_text
from ftlit.study.statistics.compare import Analysis
from ftlit.util.render.document import Fold, Part, Section, Table, Text
from ftlit.util.render.formats import NONE, choices_text, listed, plural, value_text
from ftlit.util.settings import value_at

TRAINING = {  # what runs have in common, or in what they differ, by its key in their configs
    "backbone": "model.backbone",
    "head": "model.head",
    "epochs": "trainer.max_epochs",
    "batch size": "data.batching.batch_size",
    "schedule": "model.schedule",
}
MAX_VALUES = 6  # of a setting
MAX_UNFOLDED = 40  # rows; longer tables are folded away
CORRECTIONS = {"holm": "Holm's", "bh": "Benjamini and Hochberg's"}
TESTS = {
    "moderated t over seeds and examples": "tested by a moderated t test over seeds and examples",
    "moderated t over seeds": "tested by a moderated t test over seeds",
    "McNemar": "paired by example and tested by McNemar's exact test",
    "approximate randomisation": "paired by example and tested by approximate randomisation",
}


def design(numbers: Numbers) -> Section:
    """Data, arms, seeds, selection with the budget of every arm, statistics, and warnings."""
    parts: list[Part] = [Text(_setting(numbers)), Text(_selection(numbers)), Text(_reads(numbers)), Text(statistics(numbers))]
    course = numbers.progress.course
    parts += [Text(looks_text(course)), looks_table(course)] if course else []
    parts += [Text(text, warning=True) for text in warnings(numbers)]
    data, table, trained = _data(numbers), budget(numbers), training(numbers)
    parts += [part for part in (data, trained) if part.rows]
    parts.append(table if len(table.rows) <= MAX_UNFOLDED else Fold(table.caption, [table]))
    return Section("Design", parts)


def _setting(numbers: Numbers) -> str:
    study = numbers.study
    axes = listed((f"{axis} ({', '.join(levels)})" for axis, levels in study.axes.items()), 12)
    several = len(study.axes) > 1
    ways = f", in {'all' if study.design == 'grid' else 'some of the'} combinations" if several else ""
    left_out = f" Left out: {'; '.join(', '.join(out.values()) for out in study.exclude)}." if study.exclude else ""
    where = f"the experiment{'s' if len(study.bases) > 1 else ''} {listed(study.bases, 12)}"
    within = ["the same experiment"] if len(study.bases) > 1 else []
    within += [f"the same levels of all axes other than {study.compare.axis}"] if several else []
    better = "lower" if numbers.lower else "higher"
    return (
        f"The study varies {axes} in {where}{ways}, which makes {plural(len(numbers.plan.arms), 'arm')} to compare."
        f"{left_out} Each arm is repeated with {seeds_text(study)}. "
        f"Arms are compared by {numbers.metric} on {study.compare.split} ({better} is better)"
        f"{f', within {listed(within)}' if within else ''}."
    )


def _selection(numbers: Numbers) -> str:
    select = numbers.study.select
    if select is None:
        return "There was no selection: every arm ran with the values in its config."
    over = listed((f"{key} ({_tried(values)})" for key, values in select.over.items()), 12)
    value, one = ("value", "value") if len(select.over) == 1 else ("values", "combination")
    if select.by_seed:
        text = (
            f"Every seed of every arm chose its own {value} of {over}, so that the spread over seeds includes the effect of "
            f"the choice. {_how(numbers)}, with {plural(select.budget, 'trial')} for every seed of every arm, and the {one} "
            f"with the best {numbers.metric} on validation was chosen."
        )
    else:
        text = (
            f"Every arm chose its own {value} of {over}, once for all of its seeds. {_how(numbers)}, with "
            f"{plural(numbers.plan.budget, 'trial')} for every arm ({plural(len(select.trial_seeds), 'seed')} each), and "
            f"the {one} with the best mean {numbers.metric} on validation was chosen."
        )
        if len(numbers.study.seeds) > 1:
            text += (
                " How much another choice would have changed is estimated by resampling rows of validation, and widens every "
                "interval."
            )
    if select.extend:
        text += f" Lists were continued at the ends that arms chose, for every arm, at most {plural(select.extend, 'time')}."
    return text


def _how(numbers: Numbers) -> str:
    select = numbers.study.select
    assert select is not None
    if select.method == "halving":
        rounds = ", then ".join(map(str, select.rung_sizes))
        return (
            f"By successive halving, {rounds} settings were trained, each round {select.factor} times as long as the one before"
        )
    return {
        "grid": f"All {'values' if len(select.over) == 1 else 'combinations'} were tried",
        "random": "Random draws were tried",
        "tpe": "Optuna's TPE chose the trials",
    }[select.method]


def _tried(values: object) -> str:
    if isinstance(values, list):
        return ", ".join(map(value_text, values))
    if not isinstance(values, dict):
        return str(values)
    scale = ", on a logarithmic scale" if values.get("log") else ""
    return f"between {value_text(values['low'])} and {value_text(values['high'])}{scale}"


def _reads(numbers: Numbers) -> str:
    """How often the test split was used, and by which runs."""
    known = {run.cell.name for run in numbers.runs}
    final = {run.cell.name for run in numbers.repetitions}
    repetitions = sum("test" in run.results for run in numbers.repetitions)
    trials = sum("test" in run.results for run in numbers.runs if run.cell.name not in final)
    cells = numbers.folder.path / "cells"
    others = [path for path in cells.iterdir() if path.name not in known] if cells.is_dir() else []
    earlier = sum("test" in RunFolder(path).results for path in others)
    were = "was" if repetitions == 1 else "were"
    what = " (runs with the chosen values)" if numbers.study.select else ""
    text = f"{plural(repetitions, 'finished repetition')}{what} {were} evaluated on test, after training had ended"
    text += "; the selection did not use test." if numbers.study.select else "."
    if not repetitions:
        text = "No repetition was evaluated on test."
    if trials or earlier:
        text += f" In addition, {plural(trials + earlier, 'run')} in this folder, not compared now, used test earlier."
    return text


def statistics(numbers: Numbers) -> str:
    """How intervals and tests were computed."""
    settings = numbers.study.compare
    text = f"Intervals are {numbers.confidence} confidence intervals. {_meaning(numbers)}"
    tests = {one.test for summary in numbers.blocks for one in summary.comparisons}
    if not tests:
        return text
    done = [how for test, how in TESTS.items() if test in tests]
    if not done:
        return f"{text} With a single value per arm and no examples, differences cannot be tested."
    families = f"The p-values of {_family(numbers)} are adjusted as one family by {CORRECTIONS[settings.correction]} method"
    if any(summary.pairs is not summary.comparisons for summary in numbers.blocks):
        families += ", and those of all pairs as another"
    if settings.baseline and settings.pairs in (None, "baseline") and numbers.pairs > 1:
        families += (
            f". In comparisons with {settings.baseline}, its variance borrows less from the other arms than in those of all "
            "pairs, since an error in it would count in every one of them"
        )
    return (
        f"{text} Differences are {listed(done)}.{moderation(numbers.analysis)} {families}. Arms differ significantly if the "
        f"adjusted p-value is at most {settings.level:g}.{_equivalence(numbers)}"
    )


def _family(numbers: Numbers) -> str:
    compare, count = numbers.study.compare, plural(numbers.pairs, "comparison")
    if isinstance(compare.pairs, list):
        return f"the {count} that the study names"
    if compare.baseline is None or compare.pairs == "all":
        return f"all {plural(numbers.pairs, 'pair')} in all settings"
    return f"the {count} with {compare.baseline}"


def moderation(analysis: Analysis) -> str:
    """How much the arms say about the variance of each other, as a sentence after a space."""
    if not analysis.freedom:
        return ""
    known = listed(f"{value:.1f}" for value in analysis.freedom)
    own = sorted({one.seeds - 1 for one in analysis.estimates.values() if one.seeds > 1})
    return (
        " The variance over seeds of each arm is estimated with the help of all arms (Smyth 2004), which adds "
        f"{known} degrees of freedom to the {listed(map(str, own))} from its own seeds."
    )


def _equivalence(numbers: Numbers) -> str:
    margin = numbers.study.compare.margin
    return f" That a difference is within {margin:g} is found by two one-sided tests." if margin is not None else ""


def _meaning(numbers: Numbers) -> str:
    """What the intervals generalise to."""
    if len(numbers.study.seeds) == 1:
        return "With one seed, they are about these trained models, not about the methods behind them."
    by_seed = [
        summary.paired.evidence
        for summary in numbers.blocks
        if any(one.examples == 1 for one in summary.paired.evidence.values())
    ]
    if not by_seed:
        return "They are about methods, not about single trained models: they generalise to new seeds and new examples."
    where = "" if len(by_seed) == len(numbers.blocks) else " where only seeds are compared, and elsewhere to new examples too"
    return f"They are about methods, not about single trained models: they generalise to new seeds on the same examples{where}."


def _data(numbers: Numbers) -> Table:
    """The rows of each split by experiment, and what the split was used for; the rows may differ by arm or seed."""
    rows = []
    for base in numbers.study.bases:
        splits = [run.record.get("data", {}).get("splits", {}) for run in numbers.runs if run.cell.arm.base == base]
        for split in dict.fromkeys(name for found in splits for name in found):
            sizes = sorted({found[split].get("rows", 0) for found in splits if split in found})
            prints = {str(found[split].get("fingerprint")) for found in splits if split in found}
            size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,}–{sizes[-1]:,}"
            rows.append(
                [base, split, _use(numbers, split), size, prints.pop() if len(prints) == 1 else f"{len(prints)} different"]
            )
    notes = ["A fingerprint is a hash of the rows of a split; it differs where an axis or the seed changes the data."]
    return Table("Data", ["experiment", "split", "used for", "rows", "fingerprint"], rows, words=(0, 1, 2, 4), notes=notes)


def _use(numbers: Numbers, split: str) -> str:
    """What a split was used for."""
    uses = {"train": ["training"], "validation": ["choice of checkpoint"]}.get(split, [])
    uses += ["early stopping"] if split == "validation" and _stops_early(numbers) else []
    uses += ["selection"] if split == "validation" and numbers.study.select else []
    uses += ["the comparison"] if split == numbers.study.compare.split else []
    return ", ".join(uses) or NONE


def _stops_early(numbers: Numbers) -> bool:
    """Whether any run may stop early, as runs do unless their config says that they have no patience."""
    return any(run.cell.config.get("patience", True) is not None for run in numbers.runs)


def training(numbers: Numbers) -> Table:
    """The settings of training that readers ask for, and the steps that runs took."""
    configs = [arm.repetitions[0].config for arm in numbers.arms if arm.repetitions]  # alike for all seeds
    rows = [[name, _values(value_at(config, key) for config in configs)] for name, key in TRAINING.items()]
    rows.append(["steps", _values(run.record.get("steps") for run in numbers.repetitions)])
    shown = [row for row in rows if row[1] != NONE]
    return Table("Settings of training", ["setting", "value"], shown, words=(0, 1))


def _values(found: Iterable[Any]) -> str:
    """The different values of runs; a range if there are many numbers."""
    known = {label_of(value): value for value in found if value is not None}
    numbers = [value for value in known.values() if isinstance(value, int | float)]
    if len(known) > MAX_VALUES and len(numbers) == len(known):
        return f"{min(numbers):,} to {max(numbers):,}"
    return listed(known, MAX_VALUES) if known else NONE


def budget(numbers: Numbers) -> Table:
    """The numbers of finished and of planned trials and repetitions of every arm."""
    study, rows = numbers.study, []
    for arm in numbers.arms:
        tried = f"{len(arm.trials)} of {numbers.planned_trials(arm)}"
        trials = [tried, choices_text(arm.choices)] if study.select else []
        rows.append([arm.arm.name, *trials, f"{len(arm.repetitions)} of {numbers.planned(arm.arm)}"])
    selected = ["trials", "chosen"] if study.select else []
    notes = (
        [
            "Trials are the runs from which values are chosen, on validation. Repetitions are the runs with the chosen values, "
            "one for each seed; a trial with these values may be one."
        ]
        if study.select
        else []
    )
    words = (0, 2) if study.select else (0,)
    return Table("Finished runs of every arm", ["arm", *selected, "repetitions"], rows, words, notes)
