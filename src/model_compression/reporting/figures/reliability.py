"""Reliability diagrams: how often a file is right when it is so sure.

Knows tables of bins; not how they were filled.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, stage_colours, stage_symbols
from model_compression.reporting.readings import require_columns

_COLUMNS = ("images", "confidence", "accuracy", "accuracy_low", "accuracy_high")
_SMALLEST, _LARGEST = 5, 15
"""Pixels of the marks of the emptiest and of the fullest bin."""


def reliability_figure(reliabilities: Mapping[str, pd.DataFrame]) -> go.Figure:
    """The share that is right against the mean confidence, bin by bin.

    On the dotted line a file is right as often as it claims; above it, it is too modest, below it,
    too sure. The area of a mark goes with the images in its bin; bars are 95% Wilson intervals.

    Args:
        reliabilities: By stage: a row a bin, as ``reliability_table`` builds it.

    Raises:
        ValueError: If a table lacks a column.
    """
    title = "Share of right answers by confidence"
    if len(reliabilities) == 1:
        title = f"{next(iter(reliabilities))}: share right by confidence"
    figure = canvas(title, height=340, x_title="Confidence")
    if not reliabilities:
        return not_measured(figure, "Reliability")
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": LIGHT.muted, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        name="as sure as right",
    )
    colours, symbols = stage_colours(reliabilities), stage_symbols(reliabilities)
    lowest = 1.0
    for stage, table in reliabilities.items():
        require_columns(table, _COLUMNS, "reliability")
        filled = table[table["images"] > 0]
        counts, confidence, accuracy, low, high = (
            filled[column].to_numpy(dtype=float) for column in _COLUMNS
        )
        lowest = min(lowest, float(confidence.min()))
        figure.add_scatter(
            x=confidence,
            y=accuracy,
            mode="lines+markers",
            line={"color": colours[stage], "width": 1.5},
            marker={
                "color": colours[stage],
                "symbol": symbols[stage],
                "size": _SMALLEST + (_LARGEST - _SMALLEST) * np.sqrt(counts / counts.max()),
                "opacity": 1,
                "line": {"width": 0},
            },
            error_y={
                "type": "data",
                "array": high - accuracy,
                "arrayminus": accuracy - low,
                "color": colours[stage],
                "thickness": 1,
                "width": 0,
            },
            customdata=[
                [units.percent(sure), units.percent(right), units.exact(count)]
                for sure, right, count in zip(confidence, accuracy, counts, strict=True)
            ],
            hovertemplate=f"<b>{label(stage)}</b><br>%{{customdata[2]}} images, "
            "%{customdata[0]} sure<br>%{customdata[1]} right<extra></extra>",
            name=label(stage),
        )
    start = max(0.0, lowest - 0.05)
    figure.update_layout(
        showlegend=len(reliabilities) > 1,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        margin={"t": 70 if len(reliabilities) > 1 else 44},
    )
    figure.update_xaxes(range=[start, 1.02], tickformat=".0%")
    figure.update_yaxes(range=[0, 1.03], tickformat=".0%")
    return figure
