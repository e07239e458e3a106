"""How a study was made: what varies, what each arm could choose, and which data were read for what."""

from math import isfinite

from ftlit.runs.reading import RunFolder
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.report.render.document import Fold, Part, Section, Table, Text
from ftlit.study.report.render.formats import NONE, chosen_text, listed, things, value_text

ARMS = 40  # rows of a table that need not be folded away
AFTER = {"holm": "Holm", "bh": "Benjamini and Hochberg"}
TESTS = {
    "bootstrap over seeds and examples": "paired by seed and example and tested by the bootstrap over both",
    "paired t over seeds": "paired by seed and tested by Student's t over seeds",
    "McNemar": "paired by example and tested by McNemar's exact test",
    "approximate randomisation": "paired by example and tested by approximate randomisation",
}


def design(numbers: Numbers) -> Section:
    """Data, arms, seeds, selection with the budget of every arm, the statistics, and what is to be warned of."""
    parts: list[Part] = [Text(_setting(numbers)), Text(_selection(numbers)), Text(_reads(numbers)), Text(statistics(numbers))]
    parts += [Text(text, warning=True) for text in warnings(numbers)]
    data, table = _data(numbers), budget(numbers)
    parts += [data] if data.rows else []
    parts.append(table if len(table.rows) <= ARMS else Fold(table.caption, [table]))
    return Section("Design", parts)


def _setting(numbers: Numbers) -> str:
    study = numbers.study
    bases = f"{things(len(study.bases), 'experiment')} ({listed(study.bases, 12)})"
    axes = "; ".join(f"{axis}: {', '.join(levels)}" for axis, levels in study.axes.items())
    left_out = f" Left out: {'; '.join(', '.join(out.values()) for out in study.exclude)}." if study.exclude else ""
    kind = "all combinations" if study.design == "grid" else "some of the combinations"
    return (
        f"{bases}, {things(len(numbers.plan.arms), 'arm')} by {kind} of {axes}.{left_out} Each arm is repeated with "
        f"{things(len(study.seeds), 'seed')} ({', '.join(map(str, study.seeds))}), which set {listed(study.seed_keys)}. "
        f"Arms are compared by {numbers.metric} on {study.compare.split} ({'less' if numbers.lower else 'more'} is better), "
        f"within the same experiment and the same levels of all axes but {study.compare.axis}."
    )


def _selection(numbers: Numbers) -> str:
    select = numbers.study.select
    if select is None:
        return "Nothing was selected: every arm ran with the values of its config."
    over = "; ".join(f"{key}: {_tried(values)}" for key, values in select.over.items())
    how = {"grid": "All combinations were tried", "random": "Random draws were tried", "tpe": "Optuna's TPE tried"}[
        select.method
    ]
    return (
        f"Every arm chose for itself {over}. {how} with the same budget for every arm, {things(select.budget, 'trial')} "
        f"({things(len(select.seeds), 'seed')} each), and the best mean {numbers.metric} on validation decided."
    )


def _tried(values: object) -> str:
    if isinstance(values, list):
        return ", ".join(map(value_text, values))
    return ", ".join(f"{key} {value_text(value)}" for key, value in values.items()) if isinstance(values, dict) else str(values)


def _reads(numbers: Numbers) -> str:
    """How often test was read, and by what."""
    known = {run.cell.name for run in numbers.runs}
    final = {run.cell.name for run in numbers.repetitions}
    repetitions = sum("test" in run.results for run in numbers.repetitions)
    trials = sum("test" in run.results for run in numbers.runs if run.cell.name not in final)
    cells = numbers.folder.path / "cells"
    others = [path for path in cells.iterdir() if path.name not in known] if cells.is_dir() else []
    earlier = sum("test" in RunFolder(path).results for path in others)
    text = f"Test was evaluated by {things(repetitions, 'finished repetition')}, each after its training had ended"
    text += "; the selection never read it." if numbers.study.select else "."
    if not repetitions:
        text = "Test was never read by a repetition."
    if trials or earlier:
        text += f" Beside these, {things(trials + earlier, 'run')} of this folder, not compared now, had read it."
    return text


def statistics(numbers: Numbers) -> str:
    """How means, intervals and verdicts were made."""
    settings = numbers.study.compare
    text = f"Intervals are {numbers.confidence} confidence intervals. {_meaning(numbers)}"
    tests = {one.test for told in numbers.blocks for one in told.comparisons}
    if not tests:
        return text
    done = [how for test, how in TESTS.items() if test in tests]
    if not done:
        return f"{text} One number of each arm, without its examples, cannot be tested."
    return text + (
        f" Differences are {listed(done)}. The p-values of all {things(numbers.pairs, 'pair')} in all settings are one family, "
        f"adjusted after {AFTER[settings.correction]}; arms differ where the adjusted p is at most {settings.level:g}."
    )


def _meaning(numbers: Numbers) -> str:
    """What the intervals are about."""
    if len(numbers.study.seeds) == 1:
        return "With one seed they are about the trained models at hand, not about the methods that made them."
    alone = [told.seen.evidence for told in numbers.blocks if any(one.examples == 1 for one in told.seen.evidence.values())]
    if not alone:
        return "They are about the methods: they hold for new seeds and new examples."
    where = "" if len(alone) == len(numbers.blocks) else " where seeds alone are compared, elsewhere for new examples too"
    return f"They are about the methods: they hold for new seeds on the same examples{where}."


def warnings(numbers: Numbers) -> list[str]:
    """What readers must not miss."""
    study = numbers.study
    found = []
    if study.select and study.compare.split == "validation":
        found.append(
            "The numbers are of validation, on which the selection chose: they are too good for every arm that had something "
            "to choose. Set compare.split: test for numbers that chose nothing."
        )
    if edges := _edges(numbers):
        found.append(f"Chosen at the end of the tried values, so that more extreme ones may be better: {listed(edges, 10)}.")
    if undecided := numbers.standing.undecided:
        found.append(f"All trials failed, so that nothing could be chosen: {listed(arm.name for arm in undecided)}.")
    if uneven := _uneven(numbers):
        found.append(
            f"Arms chose among fewer finished trials than the budget, as some failed or were pruned: {listed(uneven)}."
        )
    if short := [arm.arm.name for arm in numbers.arms if 0 < len(arm.repetitions) < len(study.seeds)]:
        found.append(
            f"Not all seeds have finished, and pairs are compared over the seeds that both arms have: {listed(short, 10)}."
        )
    if unknown := _unknown(numbers):
        found.append(
            f"{numbers.metric} is missing or not a number in a run of {listed(unknown, 10)}, which has no mean therefore."
        )
    notes = {f"{told.block.title}: {note}" if told.block.title else note for told in numbers.blocks for note in told.seen.notes}
    return [*found, *sorted(notes), *_mixed(numbers)]


def _unknown(numbers: Numbers) -> list[str]:
    return [
        told.block.names[label] for told in numbers.blocks for label, one in told.estimates.items() if not isfinite(one.mean)
    ]


def _edges(numbers: Numbers) -> list[str]:
    """Arms that chose the first or last of three or more numbers."""
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
    """What was not the same for all repetitions and should have been."""
    records = [run.record for run in numbers.repetitions]
    kinds = {
        "code (git commit)": {str((record.get("git") or {}).get("commit")) for record in records},
        "package versions": {str(sorted((record.get("versions") or {}).items())) for record in records},
        "hardware": {str(sorted((record.get("hardware") or {}).items())) for record in records},
    }
    mixed = [kind for kind, values in kinds.items() if len(values) > 1]
    dirty = sum(bool((record.get("git") or {}).get("dirty")) for record in records)
    found = [f"Not all repetitions ran with the same {listed(mixed)}: see Provenance."] if mixed else []
    if dirty:
        found.append(f"{things(dirty, 'repetition')} ran with changes that were not committed.")
    return found


def _data(numbers: Numbers) -> Table:
    """Rows of each split by experiment, and what it was read for; both may differ by arm or seed."""
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
    varied = "Different fingerprints of a split come from axes or seeds that change the data."
    notes = [varied] if any(row[-1].endswith("different") for row in rows) else []
    return Table("Data", ["experiment", "split", "read for", "rows", "fingerprint"], rows, words=(0, 1, 2, 4), notes=notes)


def _use(numbers: Numbers, split: str) -> str:
    """What a split was read for."""
    uses = {"train": ["training"], "validation": ["early stopping", "best checkpoint"]}.get(split, [])
    uses += ["selection"] if split == "validation" and numbers.study.select else []
    uses += ["the comparison"] if split == numbers.study.compare.split else []
    return ", ".join(uses) or NONE


def budget(numbers: Numbers) -> Table:
    """Trials and repetitions of every arm, finished and planned."""
    study, rows = numbers.study, []
    for arm in numbers.arms:
        chosen = NONE if arm.chosen is None else chosen_text(arm.chosen)
        trials = [f"{len(arm.trials)} of {study.select.budget}", chosen] if study.select else []
        rows.append([arm.arm.name, *trials, f"{len(arm.repetitions)} of {len(study.seeds)}"])
    selected = ["trials", "chosen"] if study.select else []
    return Table("Budget of every arm", ["arm", *selected, "repetitions"], rows, words=(0, 2) if study.select else (0,))
