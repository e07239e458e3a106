"""Warnings to the reader of a report."""

from math import isfinite

from ftlit.study.plan.ends import end_of
from ftlit.study.report.content.curves import still_rising
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.selection.choices import chance_choices
from ftlit.util.render.formats import chosen_text, listed, plural

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
    if chance := chance_choices(numbers.tried):
        rows = (
            " With the number of rows in brackets, they would be told apart in 80% of cases, if the true difference is the one "
            "found here."
        )
        found.append(
            "Validation is too small to tell the two best settings of these arms apart, so chance may have chosen: "
            f"{listed(chance, 10)}.{rows if any('rows' in one for one in chance) else ''}"
        )
    if undecided := numbers.progress.undecided:
        found.append(
            f"All trials of these arms failed, so they could not choose values: {listed(search.name for search in undecided)}."
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
    """Arms most of whose seeds chose the smallest or largest of three or more numbers."""
    over = numbers.study.select.over if numbers.study.select else {}
    found = []
    for arm in numbers.arms:
        for key in [key for key, values in over.items() if isinstance(values, list)]:
            tried = list(dict.fromkeys(cell.chosen[key] for cell in arm.tried))
            if end := end_of(tried, [values[key] for values in arm.choices.values()]):
                found.append(f"{arm.arm.name} ({chosen_text({key: {'low': min, 'high': max}[end](tried)})})")
    return found


def _uneven(numbers: Numbers) -> list[str]:
    planned = {arm.arm.name: numbers.planned_trials(arm) for arm in numbers.arms}
    return [
        f"{arm.arm.name} ({len(arm.trials)} of {planned[arm.arm.name]})"
        for arm in numbers.arms
        if arm.choices and len(arm.trials) < planned[arm.arm.name]
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
