"""The question of a study, and the answer in sentences."""

from collections.abc import Sequence
from math import isinf

from ftlit.study.plan.seeds import FEWEST
from ftlit.study.report.content.numbers import BlockSummary, Numbers
from ftlit.study.state.folder import State
from ftlit.study.statistics.compare import Comparison
from ftlit.util.render.document import Section, Text
from ftlit.util.render.formats import interval, listed, number, plural

MAX_SPELLED_OUT = 6  # settings; with more, the answer only says what they have in common


def answer(numbers: Numbers) -> Section:
    """The question, how far the study has come, and the answer."""
    parts = [Text(numbers.study.question)] if numbers.study.question else []
    if missing := unfinished(numbers):
        parts.append(Text(missing, warning=True))
    summaries = [block for block in numbers.blocks if block.measured]
    if not summaries:
        return Section("Question and answer", [*parts, Text("No repetition has finished yet, so there is no answer.")])
    if len(summaries) > MAX_SPELLED_OUT:
        return Section("Question and answer", [*parts, Text(overview(numbers, summaries))])
    return Section("Question and answer", [*parts, *(Text(in_words(numbers, block)) for block in summaries)])


def unfinished(numbers: Numbers) -> str:
    """A sentence about cells that have not finished; empty if all have."""
    counts = numbers.progress.counts
    words: dict[State, str] = {"failed": "failed", "running": "running", "pending": "not yet run"}
    missing = [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    if not missing:
        return ""
    return (
        f"The study is not complete: {len(numbers.repetitions)} of {numbers.all_planned} repetitions have finished "
        f"({plural(sum(counts.values()), 'run')} in total: {counts['done']} done, {', '.join(missing)}). This report covers "
        "the finished ones only."
    )


def in_words(numbers: Numbers, summary: BlockSummary) -> str:
    """The answer for a block."""
    best, *alike = summary.best()
    found, where = summary.estimates[best], f"{summary.block.title}: " if summary.block.title else ""
    decimals = numbers.decimals
    what, alone = f"{numbers.metric} on {numbers.study.compare.split}", len(summary.estimates) == 1
    text = (
        f"{where}{best} {'reaches' if alone else 'has the best'} {what}{':' if alone else ','} "
        f"{number(found.mean, decimals)}{in_brackets(numbers.confidence, found.low, found.high, decimals)}."
    )
    if alone:
        return text
    return text + _beside(summary, best, alike, numbers.study.compare.baseline) + _against(numbers, summary)


def in_brackets(confidence: str, low: float, high: float, decimals: int) -> str:
    """An interval in brackets, after a space; nothing if it is not known."""
    ends = interval(low, high, decimals)
    return f" ({confidence} interval {ends[1:-1].replace(', ', ' to ')})" if ends.startswith("[") else ""


def _beside(summary: BlockSummary, best: str, alike: Sequence[str], baseline: str | None) -> str:
    """How the other arms compare with the best one, except for what the comparison with the baseline says."""
    told = {one.arm for one in summary.against(baseline)} if best == baseline else set[str]()
    left = [label for label in alike if label not in told]
    uncompared = [label for label in summary.order if label != best and summary.verdict(best, label) is None]
    parts = [f" {_do_not_differ(left)} significantly from it."] if left else []
    if uncompared:
        parts.append(f" {listed(uncompared)} could not be compared with it.")
    return "".join(parts) if parts or told else " It differs significantly from every other arm."


def _do_not_differ(labels: Sequence[str]) -> str:
    return f"{listed(labels)} {'does' if len(labels) == 1 else 'do'} not differ"


def _against(numbers: Numbers, summary: BlockSummary) -> str:
    """The arms that differ from the baseline, and by how much."""
    baseline = numbers.study.compare.baseline
    if baseline is None:
        return ""
    against = summary.against(baseline)
    if not against:
        return f" There is no finished run of the baseline {baseline} to compare with."
    margin, show = numbers.study.compare.margin, (numbers.decimals, numbers.confidence)
    return " " + " ".join(in_comparison(against, numbers.lower, margin, *show))


def in_comparison(
    against: Sequence[Comparison], lower: bool, margin: float | None, decimals: int, confidence: str
) -> list[str]:
    """Sentences about comparisons of several arms with the same other arm.

    Args:
        against: The comparisons.
        lower: Whether lower values of the metric are better.
        margin: The difference that does not matter.
        decimals: Number of decimals with which the metric is shown.
        confidence: The confidence level of the intervals, in percent.
    """
    other = against[0].other
    better, worse = split_by_verdict(against, lower)
    parts = [
        f"Significantly {word} than {other}: {_differences(some, decimals, confidence)}."
        for word, some in (("better", better), ("worse", worse))
        if some
    ]
    if same := [one.arm for one in against if one.equivalent and not one.different]:
        parts.append(f"The same as {other} within the margin of {number(margin, decimals)}: {listed(same)}.")
    return [*parts, *_open([one for one in against if not (one.different or one.equivalent)])]


def _open(left: Sequence[Comparison]) -> list[str]:
    """The arms about which the study cannot tell whether they differ from the baseline, and what would settle it."""
    if not left:
        return []
    names, verb = listed([one.arm for one in left]), "differs" if len(left) == 1 else "differ"
    return [f"It is open whether {names} {verb} from {left[0].other}: {settling(left)}."]


def settling(left: Sequence[Comparison]) -> str:
    """What would settle comparisons, as a clause."""
    if min(one.seeds for one in left) < FEWEST:
        return f"claims need at least {FEWEST} seeds of each arm"
    found: dict[str, list[str]] = {}
    for one in left:
        seeds = f"about {max(one.seeds_needed, one.seeds + 1):,.0f} seeds of each arm"
        found.setdefault("more test examples" if isinf(one.seeds_needed) else seeds, []).append(one.arm)
    this = "this" if len(left) == 1 else "these"
    needed = listed(f"{what} to settle {this if len(found) == 1 else listed(arms)}" for what, arms in found.items())
    true = "difference is the one" if len(left) == 1 else "differences are those"
    return f"if the true {true} found here, it would take {needed}"


def split_by_verdict(comparisons: Sequence[Comparison], lower: bool) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons whose first arm is significantly better, and those whose first arm is significantly worse."""
    sign = -1 if lower else 1
    different = [one for one in comparisons if one.different]
    return [c for c in different if sign * c.difference > 0], [c for c in different if sign * c.difference < 0]


def _differences(comparisons: Sequence[Comparison], decimals: int, confidence: str) -> str:
    return listed(
        f"{one.arm} by {number(abs(one.difference), decimals)}{_size(one, decimals, confidence)}"
        for one in sorted(comparisons, key=lambda one: -abs(one.difference))
    )


def _size(one: Comparison, decimals: int, confidence: str) -> str:
    """The interval of the size of a difference."""
    low, high = (one.low, one.high) if one.difference > 0 else (-one.high, -one.low)
    return in_brackets(confidence, low, high, decimals)


def overview(numbers: Numbers, summaries: Sequence[BlockSummary]) -> str:
    """A summary of many blocks: how often each arm is among the best, and how often arms differ from the baseline."""
    total, baseline = len(summaries), numbers.study.compare.baseline
    labels = list(dict.fromkeys(label for block in summaries for label in block.estimates))
    often = {label: sum(label in block.best() for block in summaries) for label in labels}
    leaders = sorted(labels, key=lambda label: -often[label])[:5]
    text = f"Number of settings, of {total}, in which an arm is the best or does not differ significantly from the best: " + (
        f"{', '.join(f'{label} {often[label]}' for label in leaders)}."
    )
    if baseline is None:
        return text
    against = [one for block in summaries for one in block.against(baseline)]
    better, worse = split_by_verdict(against, numbers.lower)
    return text + (
        f" Of {plural(len(against), 'comparison')} with {baseline}, {len(better)} are significantly better, "
        f"{len(worse)} are significantly worse, and {len(against) - len(better) - len(worse)} do not differ significantly."
    )
