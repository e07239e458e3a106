"""Whether the new model may take the place of the old one, and how sure that is."""

from dataclasses import asdict, dataclass
from typing import Any

from ftlit.commands.update.comparison import Compared, Side
from ftlit.exports.compress.evaluate import ROUNDING


@dataclass(frozen=True)
class Verdict:
    """The decision about a new model.

    Args:
        accepted: Whether it is not worse on the new test data, and not worse than the tolerance on the old ones.
        reasons: What decided, as sentences.
        uncertain: What could be otherwise on more examples, as sentences.
    """

    accepted: bool
    reasons: list[str]
    uncertain: list[str]

    def record(self) -> dict[str, Any]:
        """What JSON says of it."""
        return asdict(self)


def judged(found: Compared, tolerance: float) -> Verdict:
    """Decide whether a new model is accepted.

    Args:
        found: Both models on both tests.
        tolerance: The largest loss on the old test data that is accepted.
    """
    limits = {"old": tolerance, "new": 0.0}
    rated = [(side, limits[side.place], bool(side.loss <= limits[side.place] + ROUNDING)) for side in found.sides]
    doubts = [_doubt(*one) for one in rated]
    return Verdict(
        all(passes for _, _, passes in rated),
        [_reason(found.metric, *one) for one in rated],
        [doubt for doubt in doubts if doubt],
    )


def _reason(metric: str, side: Side, limit: float, passes: bool) -> str:
    change = f"{metric} goes from {side.old:.4f} to {side.new:.4f} on the {side.place} test data"
    if side.place == "new":
        return f"{change}: the new model is {'not worse' if passes else 'worse'} on what it was trained for."
    if side.loss <= 0:
        return f"{change}: nothing is lost there."
    return f"{change}: a loss of {side.loss:.4f}, {'within' if passes else 'more than'} the tolerance of {limit:g}."


def _doubt(side: Side, limit: float, passes: bool) -> str | None:
    """What the interval of a loss leaves open, or None."""
    place = f"On the {side.place} test data ({side.examples:,} examples)"
    if side.loss_interval is None:
        return f"{place}, no interval of the difference can be computed, so it may be chance."
    low, high = side.loss_interval
    if (low <= limit + ROUNDING) == (high <= limit + ROUNDING):
        return None
    if passes:
        return f"{place}, the loss may be as large as {high:.4f}, with 95% confidence: more than {limit:g} is not excluded."
    return f"{place}, the loss may be as small as {low:.4f}, with 95% confidence: {limit:g} or less is not excluded."
