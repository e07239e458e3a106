"""The design of a study: what varies, what each arm could choose, and which data were used for what."""

from math import isfinite

from ftlit.runs.reading import RunFolder
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.report.render.document import Fold, Part, Section, Table, Text
from ftlit.study.report.render.formats import NONE, chosen_text, listed, plural, value_text

MAX_UNFOLDED = 40  # rows; longer tables are folded away
CORRECTIONS = {"holm": "Holm's", "bh": "Benjamini and Hochberg's"}
TESTS = {
    "bootstrap over seeds and examples": "paired by seed and example and tested by a bootstrap over both",
    "paired t over seeds": "paired by seed and tested by Student's t test over seeds",
    "McNemar": "paired by example and tested by McNemar's exact test",
    "approximate randomisation": "paired by example and tested by approximate randomisation",
}


def design(numbers: Numbers) -> Section:
    """Data, arms, seeds, selection with the budget of every arm, statistics, and warnings."""
    parts: list[Part] = [Text(_setting(numbers)), Text(_selection(numbers)), Text(_reads(numbers)), Text(statistics(numbers))]
    parts += [Text(text, warning=True) for text in warnings(numbers)]
    data, table = _data(numbers), budget(numbers)
    parts += [data] if data.rows else []
    parts.append(table if len(table.rows) <= MAX_UNFOLDED else Fold(table.caption, [table]))
    return Section("Design", parts)


def _setting(numbers: Numbers) -> str:
    study = numbers.study
    bases = f"{plural(len(study.bases), 'experiment')} ({listed(study.bases, 12)})"
    axes = "; ".join(f"{axis}: {', '.join(levels)}" for axis, levels in study.axes.items())
    left_out = f" Left out: {'; '.join(', '.join(out.values()) for out in study.exclude)}." if study.exclude else ""
    kind = "all combinations" if study.design == "grid" else "some of the combinations"
    return (
        f"{bases}; {plural(len(numbers.plan.arms), 'arm')} from {kind} of {axes}.{left_out} Each arm is repeated with "
        f"{plural(len(study.seeds), 'seed')} ({', '.join(map(str, study.seeds))}), which set {listed(study.seed_keys)}. "
        f"Arms are compared by {numbers.metric} on {study.compare.split} ({'lower' if numbers.lower else 'higher'} is better), "
        f"within the same experiment and the same levels of all axes other than {study.compare.axis}."
    )


def _selection(numbers: Numbers) -> str:
    select = numbers.study.select
    if select is None:
        return "There was no selection: every arm ran with the values in its config."
    over = "; ".join(f"{key}: {_tried(values)}" for key, values in select.over.items())
    how = {"grid": "All combinations were tried", "random": "Random draws were tried", "tpe": "Optuna's TPE chose the trials"}[
        select.method
    ]
    return (
        f"Every arm chose its own values for {over}. {how}, with the same budget of {plural(select.budget, 'trial')} for every "
        f"arm ({plural(len(select.seeds), 'seed')} each), and the values with the best mean {numbers.metric} on "
        "validation were chosen."
    )


def _tried(values: object) -> str:
    if isinstance(values, list):
        return ", ".join(map(value_text, values))
    return ", ".join(f"{key} {value_text(value)}" for key, value in values.items()) if isinstance(values, dict) else str(values)


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
    text = f"{plural(repetitions, 'finished repetition')} {were} evaluated on test, after training had ended"
    text += "; the selection did not use it." if numbers.study.select else "."
    if not repetitions:
        text = "No repetition was evaluated on test."
    if trials or earlier:
        text += f" In addition, {plural(trials + earlier, 'run')} in this folder, not compared now, used it earlier."
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
    return text + (
        f" Differences are {listed(done)}. The p-values of all {plural(numbers.pairs, 'pair')} in all settings are adjusted as "
        f"one family by {CORRECTIONS[settings.correction]} method; arms differ significantly if the adjusted p-value is "
        f"at most {settings.level:g}."
    )


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
        return "They are about the methods: they generalise to new seeds and new examples."
    where = "" if len(by_seed) == len(numbers.blocks) else " where only seeds are compared, and elsewhere to new examples too"
    return f"They are about the methods: they generalise to new seeds on the same examples{where}."


def warnings(numbers: Numbers) -> list[str]:
    """Warnings to the reader."""
    study = numbers.study
    found = []
    if study.select and study.compare.split == "validation":
        found.append(
            "The results are on validation, which the selection used, so they are too optimistic for every arm that chose "
            "values. Set compare.split: test for unbiased results."
        )
    if edges := _edges(numbers):
        found.append(
            f"These arms chose the largest or smallest value tried, so more extreme ones may be better: {listed(edges, 10)}."
        )
    if undecided := numbers.progress.undecided:
        found.append(
            f"All trials of these arms failed, so they could not choose values: {listed(arm.name for arm in undecided)}."
        )
    if uneven := _uneven(numbers):
        found.append(f"These arms have fewer finished trials than the budget, as some failed or were pruned: {listed(uneven)}.")
    if short := [arm.arm.name for arm in numbers.arms if 0 < len(arm.repetitions) < len(study.seeds)]:
        found.append(
            f"Not all seeds of these arms have finished; pairs are compared over the seeds that both have: {listed(short, 10)}."
        )
    if unknown := _unknown(numbers):
        found.append(f"{numbers.metric} is missing or not a number in a run of {listed(unknown, 10)}, so there is no mean.")
    notes = {
        f"{summary.block.title}: {note}" if summary.block.title else note
        for summary in numbers.blocks
        for note in summary.paired.notes
    }
    return [*found, *sorted(notes), *_mixed(numbers)]


def _unknown(numbers: Numbers) -> list[str]:
    return [
        summary.block.names[label]
        for summary in numbers.blocks
        for label, one in summary.estimates.items()
        if not isfinite(one.mean)
    ]


def _edges(numbers: Numbers) -> list[str]:
    """Arms that chose the smallest or largest of three or more numbers."""
    over = numbers.study.select.over if numbers.study.select else {}
    ends = {}
    for key, values in over.items():
        if isinstance(values, list) and len(values) > 2 and all(isinstance(v, int | float) for v in values):
            ends[key] = (min(values), max(values))
    return [
        f"{arm.arm.name} ({chosen_text({key: arm.chosen[key]})})"
        for arm in numbers.arms
        for key, both in ends.items()
        if arm.chosen and arm.chosen.get(key) in both
    ]


def _uneven(numbers: Numbers) -> list[str]:
    budget = numbers.study.select.budget if numbers.study.select else 0
    return [
        f"{arm.arm.name} ({len(arm.trials)} of {budget})"
        for arm in numbers.arms
        if arm.chosen is not None and len(arm.trials) < budget
    ]


def _mixed(numbers: Numbers) -> list[str]:
    """Warnings about code, versions or hardware that differ between repetitions."""
    records = [run.record for run in numbers.repetitions]
    kinds = {
        "code (git commit)": {str((record.get("git") or {}).get("commit")) for record in records},
        "package versions": {str(sorted((record.get("versions") or {}).items())) for record in records},
        "hardware": {str(sorted((record.get("hardware") or {}).items())) for record in records},
    }
    mixed = [kind for kind, values in kinds.items() if len(values) > 1]
    dirty = sum(bool((record.get("git") or {}).get("dirty")) for record in records)
    found = [f"Repetitions did not all run with the same {listed(mixed)}: see Provenance."] if mixed else []
    if dirty:
        found.append(f"{plural(dirty, 'repetition')} ran with uncommitted changes.")
    return found


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
    varied = "A split has different fingerprints if an axis or the seed changes the data."
    notes = [varied] if any(row[-1].endswith("different") for row in rows) else []
    return Table("Data", ["experiment", "split", "used for", "rows", "fingerprint"], rows, words=(0, 1, 2, 4), notes=notes)


def _use(numbers: Numbers, split: str) -> str:
    """What a split was used for."""
    uses = {"train": ["training"], "validation": ["early stopping", "choice of checkpoint"]}.get(split, [])
    uses += ["selection"] if split == "validation" and numbers.study.select else []
    uses += ["the comparison"] if split == numbers.study.compare.split else []
    return ", ".join(uses) or NONE


def budget(numbers: Numbers) -> Table:
    """The numbers of finished and planned trials and repetitions of every arm."""
    study, rows = numbers.study, []
    for arm in numbers.arms:
        chosen = NONE if arm.chosen is None else chosen_text(arm.chosen)
        trials = [f"{len(arm.trials)} of {study.select.budget}", chosen] if study.select else []
        rows.append([arm.arm.name, *trials, f"{len(arm.repetitions)} of {len(study.seeds)}"])
    selected = ["trials", "chosen"] if study.select else []
    return Table("Budget of every arm", ["arm", *selected, "repetitions"], rows, words=(0, 2) if study.select else (0,))
