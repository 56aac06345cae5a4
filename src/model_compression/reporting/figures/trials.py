"""The gains of trials over their control, with intervals.

Knows the trials' table; nothing of how they were trained.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, stage_colours
from model_compression.reporting.readings import require_columns, scalar, words

_ROW = 24
"""Pixels a trial."""
_AROUND = 100
"""Pixels above and below the rows: title, axis and its title."""


class _Row(NamedTuple):
    """A trial's gain and its interval, in percentage points; without one, its ends are the gain."""

    text: str
    gain: float
    low: float
    high: float
    has_interval: bool
    hover: str

    @property
    def is_clear(self) -> bool:
        """Whether the interval is all on one side of zero."""
        return self.has_interval and self.low * self.high > 0


def trial_gains(comparison: pd.DataFrame) -> go.Figure:
    """A dot a trial, the best at the top, with its 95 % interval and the line of no gain.

    A dot is filled where the interval does not contain zero.

    Args:
        comparison: As ``trial_table`` builds it, or read from its file.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(
        comparison,
        ("trial", "control", "gain", "gain_low", "gain_high", "accuracy_mean", "accuracy_std"),
        "comparison of trials",
    )
    reference = words(comparison["control"].mode().iloc[0])
    rows = sorted(_rows(comparison, reference), key=lambda row: row.gain)
    figure = canvas(
        f"Gain over {reference}",
        height=_AROUND + _ROW * max(len(rows), 4),
        x_title="Percentage points of test accuracy; filled: the 95 % interval excludes 0",
    )
    if not rows:
        return not_measured(figure, f"Gain over {reference}")
    colour = stage_colours(["student"])["student"]
    places = list(range(len(rows)))
    figure.add_vline(x=0, line={"color": LIGHT.muted, "width": 1})
    figure.add_scatter(
        x=[row.gain for row in rows],
        y=places,
        mode="markers",
        marker={
            "color": [colour if row.is_clear else LIGHT.paper for row in rows],
            "size": 10,
            "line": {"color": colour, "width": 2},
        },
        error_x={
            "array": [row.high - row.gain for row in rows],
            "arrayminus": [row.gain - row.low for row in rows],
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[row.hover for row in rows],
        hovertemplate="%{customdata}<extra></extra>",
        name="gain",
    )
    for place, row in zip(places, rows, strict=True):
        figure.add_annotation(
            text=_in_points(row.gain),
            x=row.high,
            y=place,
            xanchor="left",
            xshift=8,
            showarrow=False,
            font={"color": LIGHT.ink, "size": 12},
        )
    figure.update_xaxes(range=_range(rows), nticks=8)
    figure.update_yaxes(
        tickvals=places,
        ticktext=[label(row.text) for row in rows],
        tickfont={"color": LIGHT.ink, "size": 12},
        range=[-0.7, len(rows) - 0.3],
        showgrid=False,
    )
    return figure


def _rows(comparison: pd.DataFrame, reference: str) -> list[_Row]:
    rows = []
    for _, row in comparison.iterrows():
        gain, low, high = (100 * scalar(row[key]) for key in ("gain", "gain_low", "gain_high"))
        if math.isnan(gain):
            continue
        trial, control = words(row["trial"]), words(row["control"])
        has_interval = not math.isnan(low)
        between = f" ({_in_points(low)} to {_in_points(high)})" if has_interval else ""
        accuracy, spread = scalar(row["accuracy_mean"]), scalar(row["accuracy_std"])
        deviation = "" if math.isnan(spread) else f" ± {units.unsigned_points(spread)}"
        rows.append(
            _Row(
                text=trial if control == reference else f"{trial}, over {control}",
                gain=gain,
                low=low if has_interval else gain,
                high=high if has_interval else gain,
                has_interval=has_interval,
                hover=f"<b>{label(trial)}</b><br>{_in_points(gain)}{between} over "
                f"{label(control)}<br>{units.percent(accuracy, 2)}{deviation}",
            )
        )
    return rows


def _in_points(points: float) -> str:
    return units.points(points / 100).removesuffix(f"{units.SPACE}pp")


def _range(rows: Sequence[_Row]) -> list[float]:
    """From end to end of all intervals, zero included, with room for the numbers at the right."""
    low = min(0.0, *(row.low for row in rows))
    high = max(0.0, *(row.high for row in rows))
    span = max(high - low, 0.01)
    return [low - 0.05 * span, high + 0.2 * span]
