"""Puts numbers into words: sizes, times, shares, probabilities, with units and honest rounding.

Knows numbers only, not what was measured. A missing number (NaN) reads as a dash everywhere.
"""

import math
from collections.abc import Callable, Sequence

MISSING = "\u2014"
MINUS = "\u2212"
TIMES = "\u00d7"
RANGE = "\u2013"
MICRO = "\u00b5"
SPACE = "\u00a0"

_MOST_DIGITS = 6


def percent(share: float, digits: int = 1) -> str:
    """A share in percent; only a true 1 reads as 100%, and only a true 0 as 0%.

    Digits are added until the rounding no longer claims a perfection that is not there:
    0.99996 with one digit is ``99.996%``.
    """
    if math.isnan(share):
        return MISSING
    text = _until(
        share * 100, digits, lambda rounded: (rounded in (0, 100)) == (share in (0.0, 1.0))
    )
    return f"{text}%"


def interval(low: float, high: float, digits: int = 1) -> str:
    """Two shares as a range in percent: ``90.3-91.5%`` with a true en dash."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{percent(low, digits).removesuffix('%')}{RANGE}{percent(high, digits)}"


def points(difference: float) -> str:
    """A signed difference of two shares in percentage points: ``+0.60 pp``."""
    if math.isnan(difference):
        return MISSING
    sign = "+" if difference > 0 else MINUS if difference < 0 else "\u00b1"
    return f"{sign}{unsigned_points(difference)}{SPACE}pp"


def points_range(low: float, high: float) -> str:
    """Two signed differences of shares as a range in percentage points, the unit once."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{points(low).removesuffix(f'{SPACE}pp')} to {points(high)}"


def unsigned_points(difference: float) -> str:
    """The size of a difference of two shares in percentage points, without sign and unit."""
    if math.isnan(difference):
        return MISSING
    return _until(
        abs(difference) * 100, 2, lambda rounded: (rounded == 0) == (abs(difference) < 1e-12)
    )


def size(count: float) -> str:
    """Bytes with three significant digits in decimal units (1 kB = 1000 B): ``84.1 kB``."""
    if math.isnan(count):
        return MISSING
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"), SPACE)


def quantity(count: float) -> str:
    """A count with three significant digits: ``272k``, ``1.27M``."""
    return MISSING if math.isnan(count) else _scaled(count, ("", "k", "M", "G", "T"), "")


def exact(count: float) -> str:
    """A whole number in full, with thousands separators: ``10,000``."""
    return MISSING if math.isnan(count) else f"{count:,.0f}"


def latencies(milliseconds: Sequence[float]) -> list[str]:
    """Times to be compared, in one common unit: microseconds where all are under a millisecond."""
    known = [value for value in milliseconds if not math.isnan(value)]
    small = bool(known) and max(known) < 1
    factor, unit = (1000, f"{MICRO}s") if small else (1, "ms")
    return [
        MISSING if math.isnan(value) else f"{significant(value * factor)}{SPACE}{unit}"
        for value in milliseconds
    ]


def duration(seconds: float) -> str:
    """A long time for people: ``0.8 s``, ``42 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if math.isnan(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min{SPACE}{whole % 60:02d}{SPACE}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{SPACE}h{SPACE}{minutes % 60:02d}{SPACE}min"


def times(ratio: float) -> str:
    """A ratio with its sign: ``13.6`` and a multiplication sign."""
    return MISSING if math.isnan(ratio) else f"{significant(ratio)}{TIMES}"


def factor(ratio: float, *, more: str, less: str, same: str) -> str:
    """A ratio in words that never read backwards: 4 is ``4.00x smaller``, 0.25 ``4.00x larger``.

    Args:
        ratio: Positive; NaN where unknown.
        more: The word for a ratio above 1.
        less: The word for a ratio below 1, whose inverse is then given.
        same: The whole phrase where three digits cannot tell the ratio from 1.
    """
    if math.isnan(ratio):
        return MISSING
    if significant(max(ratio, 1 / ratio)) == "1.00":
        return same
    return f"{times(ratio)} {more}" if ratio > 1 else f"{times(1 / ratio)} {less}"


def p_value(p: float) -> str:
    """A p-value, never rounded to zero and never across 0.05: ``p < 0.001``, ``p = 0.31``."""
    if math.isnan(p):
        return "not tested"
    if p < 0.001:
        return f"p{SPACE}<{SPACE}0.001"
    text = _until(p, 2 if p >= 0.1 else 3, lambda rounded: (rounded < 0.05) == (p < 0.05))
    return f"p{SPACE}={SPACE}{text}"


def significant(value: float) -> str:
    """Three significant digits in plain notation, whole numbers above 1000 in full."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, 2 - magnitude)
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{digits}f}"


def _scaled(count: float, units: Sequence[str], space: str) -> str:
    index = 0
    while abs(count) >= 999.5 and index < len(units) - 1:
        count /= 1000
        index += 1
    text = f"{count:,.0f}" if index == 0 else significant(count)
    return f"{text}{space}{units[index]}" if units[index] else text


def _until(value: float, digits: int, honest: Callable[[float], bool]) -> str:
    text = f"{value:.{digits}f}"
    while digits < _MOST_DIGITS and not honest(float(text)):
        digits += 1
        text = f"{value:.{digits}f}"
    return text
