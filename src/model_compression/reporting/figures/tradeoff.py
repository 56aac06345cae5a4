"""The trade-off: accuracy against what it costs, with the Pareto front and the stages' path.

Knows the comparison table and the latencies; nothing of how either was measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.axes import accuracy_range, cost_range, draw_axes
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.figures.labels import Mark, add_labels
from model_compression.reporting.palette import LIGHT, stage_colours, stage_symbols
from model_compression.reporting.readings import latency_of, require_columns, scalar, words


class _Point(NamedTuple):
    stage: str
    architecture: str
    cost: float
    cost_low: float
    cost_high: float
    accuracy: float
    low: float
    high: float


def accuracy_against_size(
    comparison: pd.DataFrame, column: str = "file_bytes", title: str = "Accuracy against file size"
) -> go.Figure:
    """Accuracy with its 95 % interval against bytes on a logarithmic axis.

    Args:
        comparison: As ``comparison_table`` builds it, or read from ``comparison.csv``.
        column: ``file_bytes``, or ``packed_bytes`` for the entropy-coded file.
        title: The figure's title.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(comparison, (column,), "comparison")
    costs = {
        str(row["stage"]): (cost := scalar(row[column]), cost, cost)
        for _, row in comparison.iterrows()
    }
    return _tradeoff(
        _points(comparison, costs),
        canvas(title, x_title="File size, logarithmic"),
        what="File size",
        in_words=units.size,
    )


def accuracy_against_macs(comparison: pd.DataFrame) -> go.Figure:
    """Accuracy with its 95 % interval against multiply-accumulates on a logarithmic axis.

    Args:
        comparison: As ``comparison_table`` builds it, or read from ``comparison.csv``.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(comparison, ("macs",), "comparison")
    costs = {
        str(row["stage"]): (cost := scalar(row["macs"]), cost, cost)
        for _, row in comparison.iterrows()
    }
    return _tradeoff(
        _points(comparison, costs),
        canvas(
            "Accuracy against computation",
            x_title="MACs for one image, logarithmic",
        ),
        what="Multiply-accumulates",
        in_words=lambda value: f"{units.quantity(value)} MACs",
        in_short=units.quantity,
    )


def accuracy_against_latency(
    comparison: pd.DataFrame, latency: pd.DataFrame, batch_size: int = 1
) -> go.Figure:
    """Accuracy with its 95 % interval against the median latency with its quartiles.

    Args:
        comparison: As ``comparison_table`` builds it, or read from ``comparison.csv``.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        batch_size: Which of the measured batch sizes to show.

    Raises:
        ValueError: If a table lacks a column.
    """
    costs = {}
    for stage in map(str, comparison["stage"]):
        values = latency_of(latency, stage, batch_size)
        middle, low, high = (float(values.quantile(at)) for at in (0.5, 0.25, 0.75))
        costs[stage] = (middle, low, high)
    what = "one image" if batch_size == 1 else f"a batch of {batch_size}"
    worst = max((cost for middle, _, cost in costs.values() if not math.isnan(middle)), default=0)
    return _tradeoff(
        _points(comparison, costs),
        canvas(f"Accuracy against time for {what}", x_title="Median latency, logarithmic"),
        what="Latency",
        # In the unit of the slowest, so that every tick has the same.
        in_words=lambda value: units.latencies([value, worst])[0],
    )


def _points(
    comparison: pd.DataFrame, costs: Mapping[str, tuple[float, float, float]]
) -> list[_Point]:
    require_columns(
        comparison,
        ("stage", "architecture", "accuracy", "accuracy_low", "accuracy_high"),
        "comparison",
    )
    points = []
    for _, row in comparison.iterrows():
        stage = str(row["stage"])
        accuracy, low, high = (
            scalar(row[key]) for key in ("accuracy", "accuracy_low", "accuracy_high")
        )
        cost, cost_low, cost_high = costs[stage]
        if math.isnan(accuracy) or not cost > 0:
            continue
        if math.isnan(low) or math.isnan(high):
            low = high = accuracy
        points.append(
            _Point(
                stage, words(row["architecture"]), cost, cost_low, cost_high, accuracy, low, high
            )
        )
    return points


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the Pareto front: no other is as good in both and better in one.

    Args:
        points: Cost, which is better the lower, and accuracy.
    """
    return [
        not any(
            other_cost <= cost and other_gain >= gain and (other_cost, other_gain) != (cost, gain)
            for other_cost, other_gain in points
        )
        for cost, gain in points
    ]


def _tradeoff(
    points: Sequence[_Point],
    figure: go.Figure,
    what: str,
    in_words: Callable[[float], str],
    in_short: Callable[[float], str] | None = None,
) -> go.Figure:
    if not points:
        return not_measured(figure, what)
    colours = stage_colours(point.stage for point in points)
    symbols = stage_symbols(point.stage for point in points)
    x_range = cost_range([cost for point in points for cost in (point.cost_low, point.cost_high)])
    y_range = accuracy_range([limit for point in points for limit in (point.low, point.high)])
    figure.add_scatter(
        x=[point.cost for point in points],
        y=[point.accuracy for point in points],
        mode="lines",
        line={"color": LIGHT.muted, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        name="path",
    )
    front = pareto_front([(point.cost, point.accuracy) for point in points])
    for point, filled in zip(points, front, strict=True):
        marker = {
            "color": colours[point.stage] if filled else LIGHT.paper,
            "symbol": symbols[point.stage],
            "size": 11,
            "line": {"color": colours[point.stage], "width": 2},
        }
        _add_point(figure, point, marker, in_words)

    add_labels(
        figure,
        [
            Mark(point.stage, math.log10(point.cost), point.accuracy, point.low, point.high)
            for point in points
        ],
        x_range,
        y_range,
        lines=[[(math.log10(point.cost), point.accuracy) for point in points]],
    )
    draw_axes(figure, x_range, y_range, in_short or in_words)
    return figure


def _add_point(
    figure: go.Figure, point: _Point, marker: dict[str, Any], in_words: Callable[[float], str]
) -> None:
    colour = marker["line"]["color"]
    figure.add_scatter(
        x=[point.cost],
        y=[point.accuracy],
        mode="markers",
        marker=marker,
        error_x={
            "array": [point.cost_high - point.cost],
            "arrayminus": [point.cost - point.cost_low],
            "color": colour,
            "thickness": 1.5,
            "width": 3,
            "visible": point.cost_high > point.cost_low,
        },
        error_y={
            "array": [point.high - point.accuracy],
            "arrayminus": [point.accuracy - point.low],
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate=(
            f"<b>{label(point.stage)}</b> {label(point.architecture)}<br>"
            f"{units.percent(point.accuracy)} ({units.interval(point.low, point.high)})<br>"
            f"{in_words(point.cost)}<extra></extra>"
        ),
        name=label(point.stage),
    )
