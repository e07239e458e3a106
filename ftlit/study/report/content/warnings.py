"""Warnings to the reader of a report."""

from math import isfinite

from ftlit.study.report.content.curves import still_rising
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.report.render.formats import chosen_text, listed, plural

TWO_SEEDS = "Two seeds say too little about the spread of seeds: no difference is called significant. Use three or more."


def warnings(numbers: Numbers) -> list[str]:
    """Warnings to the reader."""
    study = numbers.study
    found = [] if len(study.seeds) != 2 else [TWO_SEEDS]
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
    if short := [arm.arm.name for arm in numbers.arms if 0 < len(arm.repetitions) < numbers.planned(arm.arm)]:
        found.append(f"Not all seeds of these arms have finished, which favours arms whose runs fail: {listed(short, 10)}.")
    if rising := still_rising(numbers):
        found.append(
            f"In most runs of these arms, the last validation was the best, so they may need more epochs: {listed(rising, 10)}."
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
