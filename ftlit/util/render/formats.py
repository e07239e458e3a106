"""Format numbers for readers: as many decimals as the interval justifies, a true minus sign, a dash for missing values."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

NONE = "–"
CHARACTERS = 300  # of a text in a table


def decimals_for(half_widths: Iterable[float]) -> int:
    """The number of decimals that shows two digits of the median half-width; 3 without any half-width."""
    known = sorted(width for width in half_widths if math.isfinite(width) and width > 0)
    if not known:
        return 3
    return min(max(1 - math.floor(math.log10(known[len(known) // 2])), 0), 6)


def number(value: float | None, decimals: int, sign: bool = False) -> str:
    """A number with the given number of decimals."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float, high: float, decimals: int, sign: bool = False) -> str:
    """Both ends of an interval in brackets."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    return f"[{number(low, decimals, sign)}, {number(high, decimals, sign)}]"


def mean_text(mean: float, deviation: float, decimals: int) -> str:
    """A mean and its standard deviation over seeds, if it has one."""
    return number(mean, decimals) + (f" ± {number(deviation, decimals)}" if math.isfinite(deviation) else "")


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    return NONE if not math.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float | None) -> str:
    """A large number, such as 333 k or 22.9 M."""
    return _scaled(value, 1000, ("", " k", " M", " G", " T"))


def size(value: float | None) -> str:
    """A number of bytes, such as 1.1 GB."""
    return _scaled(value, 1000, (" B", " kB", " MB", " GB", " TB"))


def _scaled(value: float | None, step: int, units: tuple[str, ...]) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    place = 0
    while abs(value) >= step and place < len(units) - 1:
        value, place = value / step, place + 1
    return f"{value:.0f}{units[place]}" if value >= 100 or place == 0 else f"{value:.3g}{units[place]}"


def seconds(value: float | None) -> str:
    """Seconds, with one decimal below ten."""
    return NONE if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def with_unit(text: str, unit: str) -> str:
    """A number with its unit; a dash stays as it is."""
    return text if text == NONE else f"{text} {unit}"


def share(value: float | None) -> str:
    """A share as a percentage with two digits."""
    return NONE if value is None else f"{100 * value:.0f}%" if value >= 0.1 else f"{100 * value:.2g}%"


def chosen_text(chosen: dict[str, Any]) -> str:
    """Chosen values, with the last parts of their keys."""
    return ", ".join(f"{key.rsplit('.', 1)[-1]} {value_text(value)}" for key, value in chosen.items())


def choices_text(choices: Mapping[int, dict[str, Any]]) -> str:
    """What the seeds of an arm chose, by their number if they differ; a dash if none has chosen."""
    chosen = Counter(chosen_text(values) for values in choices.values())
    if len(chosen) == 1:
        return next(iter(chosen))
    return "; ".join(f"{text} ({plural(seeds, 'seed')})" for text, seeds in chosen.most_common()) or NONE


def value_text(value: Any) -> str:
    """A config value; numbers are shortened, such as 0.05 or 3e-5."""
    if not isinstance(value, float):
        return str(value)
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def listed(names: Iterable[str], limit: int = 6) -> str:
    """Names in a sentence, such as "a, b and c"; beyond `limit`, the rest is counted."""
    found = list(names)
    comma = "; " if any(", " in name for name in found) else ", "
    if len(found) > limit:
        found = [*found[: limit - 1], f"{len(found) - limit + 1} others"]
    return found[0] if len(found) == 1 else f"{comma.join(found[:-1])} and {found[-1]}" if found else "none"


def plural(number_of: int, thing: str) -> str:
    """A count with its noun, such as "1 run" or "1,000 runs"."""
    return f"{number_of:,} {thing}{'' if number_of == 1 else 's'}"


def shortened(text: str, limit: int = CHARACTERS) -> str:
    """A text, cut after `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit].rstrip()} …"
