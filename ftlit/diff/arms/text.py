"""A comparison of arms as tables, and the answer in sentences."""

from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from ftlit.diff.arms.command import ArmComparison
from ftlit.diff.printing import MODELS
from ftlit.study.report.content.answer import in_brackets, in_comparison
from ftlit.study.report.content.blocks import ranked
from ftlit.study.report.content.design import moderation
from ftlit.study.report.content.results import pair_columns, pair_row
from ftlit.study.statistics.compare import Comparison, Estimate
from ftlit.util.render.formats import decimals_for, interval, mean_text, number

CONFIDENCE = "95%"


def text(found: ArmComparison) -> str:
    """Format a comparison: a table of arms, a table of comparisons, the answer, and notes."""
    decimals = decimals_for((one.high - one.low) / 2 for one in found.analysis.estimates.values())
    parts = [_arms(found, decimals), _comparisons(found, decimals), answer(found, decimals)]
    if any(one.seeds == 1 for one in found.analysis.comparisons):
        parts.append(MODELS)
    elif found.analysis.comparisons:
        parts.append(moderation(found.analysis).strip())
    return "\n\n".join(part for part in [*parts, *found.notes] if part)


def _arms(found: ArmComparison, decimals: int) -> str:
    rows = [[name, str(one.seeds), *_estimate(one, decimals)] for name, one in found.analysis.estimates.items()]
    headers = ["arm", "seeds", "mean ± SD", f"{CONFIDENCE} interval"]
    return f"{found.settings.primary} on {found.settings.split}\n{_table(rows, headers)}"


def _estimate(one: Estimate, decimals: int) -> list[str]:
    return [mean_text(one.mean, one.deviation, decimals), interval(one.low, one.high, decimals)]


def _comparisons(found: ArmComparison, decimals: int) -> str:
    rows = [pair_row(one, decimals) for one in found.analysis.comparisons]
    return _table(rows, pair_columns(CONFIDENCE)) if rows else ""


def answer(found: ArmComparison, decimals: int) -> str:
    """The best arm, and how the arms compare with the baseline, or else with the best arm."""
    estimates = found.analysis.estimates
    best = ranked({name: one.mean for name, one in estimates.items()}, found.lower)[0]
    first = estimates[best]
    mean = number(first.mean, decimals) + in_brackets(CONFIDENCE, first.low, first.high, decimals)
    what = f"{found.settings.primary} on {found.settings.split}"
    if len(estimates) == 1:
        return f"All runs have the same config apart from their seeds, so there is nothing to compare. Mean {what}: {mean}."
    reference = found.settings.baseline or best
    against = [_from(one, reference) for one in found.analysis.comparisons if reference in (one.arm, one.other)]
    return " ".join(
        [
            f"{best} has the best {what}, {mean}.",
            *in_comparison(against, found.lower, found.settings.margin, decimals, CONFIDENCE),
        ]
    )


def _from(one: Comparison, reference: str) -> Comparison:
    """A comparison with a reference as its second arm."""
    if one.other == reference:
        return one
    return replace(one, arm=one.other, other=one.arm, difference=-one.difference, low=-one.high, high=-one.low)


def _table(rows: Sequence[Sequence[str]], headers: list[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)
