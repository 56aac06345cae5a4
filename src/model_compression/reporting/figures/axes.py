"""Ranges and ticks of the axes on which costs and accuracies are drawn.

Knows numbers, not what they were measured of.
"""

import math
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

_SERIES = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    # A twentieth of a decade apart at most, so that the narrowest axis has three of them.
    tuple(1 + step / 10 for step in range(90)),
)


def cost_range(costs: Sequence[float]) -> tuple[float, float]:
    """The logarithmic range of an axis with room for the labels at both ends."""
    low, high = math.log10(min(costs)), math.log10(max(costs))
    room = max(0.12 * (high - low), 0.08)
    return low - room, high + room


def accuracy_range(accuracies: Sequence[float]) -> tuple[float, float]:
    """The range of an axis of accuracies, with room for labels above and below."""
    low, high = min(accuracies), max(accuracies)
    room = max(0.18 * (high - low), 0.002)
    return low - room, high + room


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: the coarsest series that gives at least three.

    Of these, only such as are far enough apart that their texts do not touch.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = (
        [
            tick
            for decade in decades
            for step in series
            if low <= (tick := step * 10.0**decade) <= high
        ]
        for series in _SERIES
    )
    ticks = next(ticks for ticks in candidates if len(ticks) >= 3)
    kept = ticks[:1]
    for tick in ticks[1:]:
        if math.log10(tick / kept[-1]) >= math.log10(high / low) / 5:
            kept.append(tick)
    return kept


def percent_format(span: float) -> str:
    """How plotly writes a share in percent on an axis of such a span."""
    return ".0%" if span > 0.06 else ".1%" if span > 0.006 else ".2%"


def draw_axes(
    figure: go.Figure,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    in_words: Callable[[float], str],
) -> None:
    """Makes the horizontal axis one of costs, logarithmic, and the vertical one of accuracies.

    Args:
        figure: Changed in place.
        x_range: As ``cost_range`` gives it.
        y_range: As ``accuracy_range`` gives it.
        in_words: A cost with its unit.
    """
    ticks = round_ticks(10 ** x_range[0], 10 ** x_range[1])
    figure.update_xaxes(
        type="log",
        tickangle=0,
        tickvals=ticks,
        ticktext=[in_words(tick) for tick in ticks],
        range=list(x_range),
    )
    figure.update_yaxes(
        tickformat=percent_format(y_range[1] - y_range[0]), nticks=6, range=list(y_range)
    )
