"""Round numbers on logarithmic axes.

Knows numbers only, not what they measure.
"""

import math
from collections.abc import Sequence

_SERIES = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    # A twentieth of a decade apart at most, so that the narrowest axis has three of them.
    tuple(1 + step / 10 for step in range(90)),
)


def margins(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis, as exponents of 10, with room at both of them.

    Args:
        values: Positive, at least one.
    """
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.12 * (high - low), 0.08)
    return low - room, high + room


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: the coarsest series that gives at least three.

    Of these, only such as are far enough apart that their texts do not touch.

    Args:
        low: The axis' lower end, as an exponent of 10.
        high: The upper one, at least a tenth above it.
    """
    lowest, highest = 10**low, 10**high
    decades = range(math.floor(low), math.ceil(high) + 1)
    candidates = (
        [
            tick
            for decade in decades
            for step in series
            if lowest <= (tick := step * 10.0**decade) <= highest
        ]
        for series in _SERIES
    )
    ticks = next(ticks for ticks in candidates if len(ticks) >= 3)
    kept = ticks[:1]
    for tick in ticks[1:]:
        if math.log10(tick / kept[-1]) >= (high - low) / 5:
            kept.append(tick)
    return kept
