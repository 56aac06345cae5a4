"""Writes direct labels beside marks, where they cover neither each other nor the marks and lines.

Knows axis coordinates only (on a logarithmic axis the logarithm), not what the marks mean.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import plotly.graph_objects as go

from model_compression.reporting.figures.canvas import label
from model_compression.reporting.palette import LIGHT

# The narrowest plot area of the report, in pixels: on paper and on a phone.
_WIDTH, _HEIGHT = 270, 240
_LETTER, _LINE = 7.2, 16
_GAP = 8
_STEP = 6
# In square pixels: how much overlap a label accepts before it leaves its favourite place.
_DISTANCE_COST = 6
_OUTSIDE_COST = 4

Range = tuple[float, float]


class Mark(NamedTuple):
    """What a label belongs to: a point in axis coordinates, and the ends of its error bar."""

    text: str
    x: float
    y: float
    low: float
    high: float


class Place(NamedTuple):
    """Where a label goes: its box in pixels, and how plotly puts it there from its anchor."""

    left: float
    bottom: float
    right: float
    top: float
    xanchor: str
    yanchor: str
    xshift: float
    yshift: float

    def overlap(self, other: "Place") -> float:
        """The area that two boxes share, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)


def add_labels(
    figure: go.Figure,
    marks: Sequence[Mark],
    x_range: Range,
    y_range: Range,
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> None:
    """Sets the ranges of the axes and labels the marks as annotations.

    Args:
        figure: Changed in place.
        marks: In axis coordinates.
        x_range: The axis' ends.
        y_range: The axis' ends.
        lines: What else is drawn and should stay readable, as points in axis coordinates.
    """
    places = place_labels(
        [
            mark._replace(
                x=_pixel(mark.x, x_range, _WIDTH),
                y=_pixel(mark.y, y_range, _HEIGHT),
                low=_pixel(mark.low, y_range, _HEIGHT),
                high=_pixel(mark.high, y_range, _HEIGHT),
            )
            for mark in marks
        ],
        [
            [(_pixel(x, x_range, _WIDTH), _pixel(y, y_range, _HEIGHT)) for x, y in line]
            for line in lines
        ],
    )
    for mark, place in zip(marks, places, strict=True):
        anchors = {"bottom": mark.high, "top": mark.low, "middle": mark.y}
        figure.add_annotation(
            text=label(mark.text),
            x=mark.x,
            y=anchors[place.yanchor],
            xanchor=place.xanchor,
            yanchor=place.yanchor,
            xshift=place.xshift,
            yshift=place.yshift,
            showarrow=False,
            borderpad=0,
            font={"color": LIGHT.ink, "size": 12},
        )
    figure.update_xaxes(range=list(x_range))
    figure.update_yaxes(range=list(y_range))


def place_labels(
    marks: Sequence[Mark], lines: Sequence[Sequence[tuple[float, float]]] = ()
) -> list[Place]:
    """A place for every label, chosen one after the other.

    First it avoids the other labels, then it covers and leaves as little as it can.

    Args:
        marks: In pixels from the lower left corner.
        lines: In pixels from the lower left corner.
    """
    taken = [_box(mark.x, mark.low, mark.high) for mark in marks]
    taken += [_box(x, y, y, size=1) for line in lines for x, y in _along(line)]
    chosen: list[Place] = []
    for mark in marks:
        costs = [
            (_overlaps(place, chosen), _cost(place, taken) + _DISTANCE_COST * preference, place)
            for preference, place in enumerate(_candidates(mark))
        ]
        chosen.append(min(costs)[-1])
    return chosen


def _overlaps(place: Place, labels: Sequence[Place]) -> int:
    return sum(place.overlap(other) > 0 for other in labels)


def _cost(place: Place, taken: Sequence[Place]) -> float:
    area = (place.right - place.left) * (place.top - place.bottom)
    outside = area - place.overlap(Place(0, 0, _WIDTH, _HEIGHT, "", "", 0, 0))
    return _OUTSIDE_COST * outside + sum(place.overlap(other) for other in taken)


def _pixel(value: float, limits: Range, length: float) -> float:
    return (value - limits[0]) / (limits[1] - limits[0]) * length


def _box(x: float, low: float, high: float, size: float = 6) -> Place:
    return Place(x - size, low - size, x + size, high + size, "", "", 0, 0)


def _along(line: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Points every few pixels of a line."""
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = 1 + int(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 / _STEP)
        for step in range(steps):
            yield x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps


def _candidates(mark: Mark) -> Iterator[Place]:
    """Places around a mark, the preferred ones first: close before far, above before beside."""
    width = len(mark.text) * _LETTER
    columns = {
        "center": (mark.x - width / 2, 0.0),
        "left": (mark.x + _GAP, float(_GAP)),
        "right": (mark.x - _GAP - width, -float(_GAP)),
    }
    for distance in (_GAP + step * (_GAP + _LINE) for step in range(3)):
        rows = {
            "bottom": (mark.high + distance, float(distance)),
            "top": (mark.low - distance - _LINE, -float(distance)),
            "middle": (mark.y - _LINE / 2, 0.0),
        }
        for yanchor, (bottom, yshift) in rows.items():
            for xanchor, (left, xshift) in columns.items():
                if (xanchor, yanchor) != ("center", "middle"):
                    yield Place(
                        left, bottom, left + width, bottom + _LINE, xanchor, yanchor, xshift, yshift
                    )
