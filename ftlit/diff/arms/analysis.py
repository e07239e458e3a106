"""Compare arms: the comparisons that are asked for, with the statistics of studies."""

from collections.abc import Mapping

from ftlit.errors import UserError
from ftlit.metrics.direction import bounds
from ftlit.study.command import check_installed
from ftlit.study.plan.file import check_pairs
from ftlit.study.plan.settings import CompareSettings
from ftlit.study.report.content.blocks import families
from ftlit.study.statistics.compare import Analysis, analyse
from ftlit.study.statistics.runs import Evidence


def analysed(arms: Mapping[str, Evidence], settings: CompareSettings) -> Analysis:
    """Estimate the metric of every arm, and compare the pairs that are asked for, which are one family.

    Args:
        arms: The evidence of each arm.
        settings: What is compared.

    Raises:
        UserError: The baseline or a pair names no arm, or SciPy is not installed.
    """
    check_installed("the comparison of arms")
    if settings.baseline is not None and settings.baseline not in arms:
        raise UserError(f"the baseline {settings.baseline!r} is not an arm; the arms are {', '.join(map(repr, arms))}")
    check_pairs(settings, arms)
    asked = families(list(arms), settings)[0]
    return analyse(
        arms, [asked], level=settings.level, correction=settings.correction, margin=settings.margin,
        bounds=bounds(settings.primary),
    )  # fmt: skip
