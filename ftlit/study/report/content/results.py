"""The comparison: a table for each setting, differences to the baseline, all pairs, and quality against cost."""

from collections.abc import Sequence
from math import isinf

import numpy as np

from ftlit.study.plan.seeds import FEWEST
from ftlit.study.report.content.curves import learning, sensitivity
from ftlit.study.report.content.numbers import BlockSummary, Numbers
from ftlit.study.report.render.plots import against_costs, difference_plot, numeric_axis, over_axis
from ftlit.study.statistics.compare import Comparison
from ftlit.util.render import formats as f
from ftlit.util.render.document import Fold, Part, Section, Table, Text

MAX_PLOTTED = 12  # settings with their own plots
MAX_PAIRS = 300  # rows of a table of pairs
STORED = {"trunk_seconds": "the states of frozen layers", "teacher_seconds": "the outputs of teachers"}
MARKS = {True: "▲", False: "▼"}  # significantly better and worse than the baseline


def main_tables(numbers: Numbers) -> list[Table]:
    """The tables of all settings with a finished repetition."""
    return [main_table(numbers, summary) for summary in numbers.blocks if summary.estimates]


def main_table(numbers: Numbers, summary: BlockSummary) -> Table:
    """The metric, difference to the baseline, group and cost of each arm."""
    study, baseline = numbers.study, numbers.study.compare.baseline
    verdicts = {one.arm: one for one in summary.against(baseline)}
    columns = {
        "arm": True,
        "chosen": study.select is not None,
        "seeds": True,
        f"{numbers.metric} ± SD": True,
        f"{numbers.confidence} interval": True,
        f"difference to {baseline}": bool(verdicts),
        f"its {numbers.confidence} interval": bool(verdicts),
        "adjusted p": bool(verdicts),
        "group": bool(summary.letters),
        "trained parameters": True,
        "of all parameters": True,
        "training time": True,
        "peak memory": True,
        "checkpoint size": True,
    }
    rows = [_row(numbers, summary, label, verdicts) for label in summary.block.arms]
    kept = [i for i, there in enumerate(columns.values()) if there]
    heads = [name for name, there in columns.items() if there]
    words = [i for i, name in enumerate(heads) if name in ("arm", "chosen", "group")]
    return Table(
        f"{numbers.metric} on {study.compare.split}{summary.block.caption_suffix}",
        heads,
        [[row[i] for i in kept] for row in rows],
        words,
        _notes(numbers, summary, bool(verdicts)),
    )


def _row(numbers: Numbers, summary: BlockSummary, label: str, verdicts: dict[str, Comparison]) -> list[str]:
    runs, d = summary.block.arms[label], numbers.decimals
    chosen = f.choices_text(runs.choices)
    seeds = numbers.planned(runs.arm)
    if label not in summary.estimates:
        return [label, chosen, f"0/{seeds}", *[f.NONE] * 11]
    one, cost, verdict = summary.estimates[label], summary.costs[label], verdicts.get(label)
    return [
        label, chosen, str(one.seeds) if one.seeds == seeds else f"{one.seeds}/{seeds}",
        f.mean_text(one.mean, one.deviation, d), f.interval(one.low, one.high, d), *_difference(numbers, label, verdict),
        summary.letters.get(label, f.NONE), f.count(cost.trained), f.share(cost.share),
        f.with_unit(f.seconds(cost.seconds), "s"), f.size(cost.memory), f.size(cost.checkpoint),
    ]  # fmt: skip


def _difference(numbers: Numbers, label: str, verdict: Comparison | None) -> list[str]:
    if verdict is None:
        return ["baseline" if label == numbers.study.compare.baseline else f.NONE, "", ""]
    d = numbers.decimals
    mark = f" {MARKS[(verdict.difference < 0) == numbers.lower]}" if verdict.different else ""
    ends = f.interval(verdict.low, verdict.high, d, sign=True)
    return [f.number(verdict.difference, d, sign=True) + mark, ends, f.p_text(verdict.p_adjusted)]


def _notes(numbers: Numbers, summary: BlockSummary, compared: bool) -> list[str]:
    notes = [f"{numbers.metric} ± SD: mean and standard deviation over seeds."]
    if compared:
        notes.append(
            f"▲ significantly better and ▼ significantly worse than {numbers.study.compare.baseline}, by the adjusted p-value; "
            "intervals are not adjusted for the number of comparisons."
        )
    if summary.letters:
        notes.append("Group: arms that share a letter do not differ significantly, by the comparisons of all pairs.")
    notes.append("Parameters, time, memory and size of the best checkpoint are means over seeds.")
    for name, what in STORED.items():
        if stored := sum(run.results.get("efficiency", {}).get(name) or 0 for run in numbers.runs):
            notes.append(
                f"Training time leaves out what it took to compute {what}, which runs store and share: "
                f"{f.with_unit(f.seconds(stored), 's')} in all runs together."
            )
    return notes


def comparison(numbers: Numbers) -> Section:
    """The table of each setting, with a plot of the differences and a table of all pairs."""
    axis, baseline = numeric_axis(numbers), numbers.study.compare.baseline
    parts: list[Part] = [*over_axis(numbers, axis, MAX_PLOTTED)] if axis else []
    summaries = [block for block in numbers.blocks if block.estimates]
    for i, block in enumerate(summaries):
        parts.append(main_table(numbers, block))
        if baseline and block.against(baseline) and i < MAX_PLOTTED:
            parts.append(difference_plot(numbers, block))
        if len(numbers.study.seeds) > 1:
            parts.append(Fold(f"{numbers.metric} of each seed{block.block.caption_suffix}", [seeds_table(numbers, block)]))
        if numbers.study.compare.metrics[1:]:
            parts.append(others_table(numbers, block))
        if len(block.pairs) > 1:
            parts.append(Fold(f"All {len(block.pairs):,} pairs{block.block.caption_suffix}", [pairs_table(numbers, block)]))
    if len(summaries) > MAX_PLOTTED:
        parts.append(Text(f"Differences are plotted for the first {MAX_PLOTTED} of {len(summaries)} settings."))
    return Section("Comparison", parts)


def seeds_table(numbers: Numbers, summary: BlockSummary) -> Table:
    """The metric of each arm with each seed."""
    study, rows = numbers.study, []
    seeds = study.seeds[: max(map(numbers.planned, numbers.plan.arms))]
    for label in summary.estimates:
        runs = {run.cell.seed: run.results.get(study.compare.split, {}) for run in summary.block.arms[label].repetitions}
        values = [f.number(runs.get(seed, {}).get(numbers.metric), numbers.decimals + 1) for seed in seeds]
        rows.append([label, *values])
    return Table(
        f"{numbers.metric} on {study.compare.split} by seed{summary.block.caption_suffix}",
        ["arm", *(f"seed {seed}" for seed in seeds)],
        rows,
        words=(0,),
    )


def others_table(numbers: Numbers, summary: BlockSummary) -> Table:
    """Means and deviations of the metrics that are not compared."""
    metrics, split = numbers.study.compare.metrics[1:], numbers.study.compare.split
    rows = []
    for label in summary.estimates:
        found = [run.results.get(split, {}) for run in summary.block.arms[label].repetitions]
        values = [np.array([float(one.get(metric, np.nan)) for one in found]) for metric in metrics]
        spread = [one.std(ddof=1) if len(one) > 1 else float("nan") for one in values]
        rows.append([label, *(f.mean_text(v.mean(), dev, numbers.decimals) for v, dev in zip(values, spread, strict=True))])
    notes = ["These metrics are exploratory: no claim is made about them."]
    return Table(f"Other metrics{summary.block.caption_suffix}", ["arm", *metrics], rows, words=(0,), notes=notes)


def pairs_table(numbers: Numbers, summary: BlockSummary) -> Table:
    """All pairs of a setting, or those with the smallest p-values if there are too many."""
    d, several = numbers.decimals, summary.pairs is not summary.comparisons
    found: Sequence[Comparison] = summary.pairs
    notes = [
        "Verdict: open comparisons have not been found to be different, nor the same. Seeds needed: the seeds of each arm that "
        "would settle an open comparison in 80% of cases, if the true difference is the one found here; “more examples” "
        "if no number of seeds would. Seeds: those of the arm that has fewer."
    ]
    if several:
        notes.append("All pairs are a family of their own, so adjusted p and seeds needed take all of them into account.")
    if len(found) > MAX_PAIRS:
        found = sorted(found, key=lambda one: one.p)[:MAX_PAIRS]
        notes.append(f"Only the {MAX_PAIRS} of {len(summary.pairs):,} pairs with the smallest p-values are shown.")
    columns, rows = pair_columns(numbers.confidence), [pair_row(one, d) for one in found]
    return Table(f"All pairs{summary.block.caption_suffix}", columns, rows, words=(0, 1, 6), notes=notes)


def pair_columns(confidence: str) -> list[str]:
    """The columns of a table of comparisons."""
    return ["arm", "other", "arm − other", f"{confidence} interval", "p", "adjusted p", "verdict", "seeds needed", "seeds"]


def pair_row(one: Comparison, decimals: int) -> list[str]:
    """A comparison as a row of a table, with its verdict in words."""
    verdict = "different" if one.different else "same within the margin" if one.equivalent else "open"
    needed = f.NONE
    if verdict == "open":
        known = "more examples" if isinf(one.seeds_needed) else f"{one.seeds_needed:,.0f}"
        needed = f"at least {FEWEST}" if one.seeds < FEWEST else known
    return [
        one.arm, one.other, f.number(one.difference, decimals, sign=True), f.interval(one.low, one.high, decimals, sign=True),
        f.p_text(one.p), f.p_text(one.p_adjusted), verdict, needed, str(one.seeds),
    ]  # fmt: skip


def costs(numbers: Numbers) -> Section:
    """The metric against trained parameters, time and memory."""
    some = [summary for summary in numbers.blocks if len(summary.estimates) > 1][:MAX_PLOTTED]
    parts: list[Part] = [figure for summary in some if (figure := against_costs(numbers, summary))]
    if parts and len({str(run.record.get("hardware")) for run in numbers.repetitions}) > 1:
        parts.append(Text("Runs used different hardware, so their times and memory are not comparable.", warning=True))
    return Section("Quality and cost", parts, essential=False)


def training_curves(numbers: Numbers) -> Section:
    """Learning curves and sensitivity to the selected values."""
    parts: list[Part] = []
    begun = [
        summary for summary in numbers.blocks if summary.estimates or any(runs.trials for runs in summary.block.arms.values())
    ]
    for summary in begun[:MAX_PLOTTED]:
        figure = learning(numbers, summary)
        parts += [*([figure] if figure else []), *sensitivity(numbers, summary)]
    return Section("Learning curves and sensitivity", parts, essential=False)
