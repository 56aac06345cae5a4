"""Accuracy of all runs against a cost, with the Pareto fronts.

Knows the table of runs; nothing of how they were tracked.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.axes import accuracy_range, cost_range, draw_axes
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, stage_colours, stage_symbols
from model_compression.reporting.readings import require_columns, scalar, words
from model_compression.reporting.runs import FRONTS, comparable

TRIALS = "trial"
"""What all trials are called in the legend."""
_MOST_RUNS = 5
"""Runs that a point names, where several have the very same result."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_TITLES = {
    "size": ("Accuracy against file size", "File size, logarithmic"),
    "latency": ("Accuracy against time for one image", "Median latency, logarithmic"),
    "macs": ("Accuracy against work", "MACs for one image, logarithmic"),
}


class _Point(NamedTuple):
    cost: float
    accuracy: float
    group: str
    legend: str
    is_front: bool
    hover: str


def runs_figure(table: pd.DataFrame, front: str) -> go.Figure:
    """A point a stage of a run; filled on the front, which is drawn as a line.

    What may not be compared (``runs.FRONTS``) has fronts of its own. Where runs have the very same
    result, one point names them all.

    Args:
        table: As ``run_table`` builds it, or read from its file.
        front: One of ``FRONTS``.

    Raises:
        ValueError: If the table lacks a column.
    """
    cost, _ = FRONTS[front]
    require_columns(
        table,
        ("run", "kind", "stage", "overrides", "accuracy", cost, f"front_{front}"),
        "runs",
    )
    title, x_title = _TITLES[front]
    figure = canvas(title, height=420, x_title=x_title)
    known = table[table[cost].notna() & table["accuracy"].notna()]
    if known.empty:
        return not_measured(figure, title.removeprefix("Accuracy against ").capitalize())
    worst = float(known[cost].max())
    in_words: dict[str, Callable[[float], str]] = {
        "size": units.size,
        # In the unit of the slowest, so that every tick has the same.
        "latency": lambda value: units.latencies([value, worst])[0],
        "macs": units.quantity,
    }
    points = list(_points(known, front, in_words[front]))
    _add_fronts(figure, points)
    _add_points(figure, points)
    draw_axes(
        figure,
        cost_range([point.cost for point in points]),
        accuracy_range([point.accuracy for point in points]),
        in_words[front],
    )
    figure.update_layout(
        showlegend=True,
        # Below the axis: on a narrow screen it takes several lines.
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "font": {"size": 12}},
    )
    return figure


def _add_fronts(figure: go.Figure, points: list[_Point]) -> None:
    groups = list(dict.fromkeys(point.group for point in points))
    for place, group in enumerate(groups):
        corners = sorted(
            {(each.cost, each.accuracy) for each in points if each.group == group and each.is_front}
        )
        figure.add_scatter(
            x=[cost for cost, _ in corners],
            y=[accuracy for _, accuracy in corners],
            mode="lines",
            # Until the next costlier point, the accuracy of the last one is to be had.
            line={
                "color": LIGHT.muted,
                "width": 1.5,
                "dash": _DASHES[place % len(_DASHES)],
                "shape": "hv",
            },
            hoverinfo="skip",
            name=f"front (filled), {label(group)}" if group else "front (filled)",
        )


def _add_points(figure: go.Figure, points: list[_Point]) -> None:
    stages = list(dict.fromkeys(point.legend for point in points))
    colours, symbols = stage_colours(stages), stage_symbols(stages)
    for stage in stages:
        own = [point for point in points if point.legend == stage]
        figure.add_scatter(
            x=[point.cost for point in own],
            y=[point.accuracy for point in own],
            mode="markers",
            marker={
                "color": [colours[stage] if point.is_front else LIGHT.paper for point in own],
                "line": {"color": colours[stage], "width": 2},
                "symbol": symbols[stage],
                "size": 10,
            },
            customdata=[point.hover for point in own],
            hovertemplate="%{customdata}<extra></extra>",
            name=label(stage),
        )


def _points(table: pd.DataFrame, front: str, in_words: Callable[[float], str]) -> Iterator[_Point]:
    cost, _ = FRONTS[front]
    kinds = [TRIALS if kind == "trial" else None for kind in table["kind"]]
    rows = table.assign(
        group=comparable(table, front),
        legend=[kind or words(stage) for kind, stage in zip(kinds, table["stage"], strict=True)],
    )
    same = ["legend", "stage", "group", cost, "accuracy", f"front_{front}"]
    for key, alike in rows.groupby(same, sort=False, dropna=False):
        legend, stage, group, *figures, is_front = key
        value, accuracy = map(scalar, figures)
        low, high = (scalar(alike[name].iloc[0]) for name in ("accuracy_low", "accuracy_high"))
        extent = "" if math.isnan(low) else f" ({units.interval(low, high, 2)})"
        yield _Point(
            cost=value,
            accuracy=accuracy,
            group=str(group),
            legend=str(legend),
            is_front=bool(is_front),
            hover="<br>".join(
                [
                    f"<b>{label(words(stage))}</b>{' · on the front' if is_front else ''}",
                    f"{units.percent(accuracy, 2)}{extent}, {in_words(value)}",
                    *_runs(alike),
                ]
            ),
        )


def _runs(alike: pd.DataFrame) -> Iterator[str]:
    """The runs with one and the same result, newest first, and what was overridden in each."""
    for _, row in alike.head(_MOST_RUNS).iterrows():
        overrides, cpu = words(row["overrides"]), words(row["cpu"])
        yield f"{label(words(row['run']))}, {words(row['started'])[:16].replace('T', ' ')}"
        if overrides:
            yield f"\u2003{label(overrides)}"
        if cpu:
            yield f"\u2003{label(cpu)}"
    if len(alike) > _MOST_RUNS:
        yield f"and {len(alike) - _MOST_RUNS} more runs"
