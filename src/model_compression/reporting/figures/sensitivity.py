"""What every layer bears: accuracy lost by layer and share or bits, as a heat map.

Knows the tables of sensitivities; not how they were measured.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, cell_scale
from model_compression.reporting.readings import require_columns

_NUMBERS = "<br>Numbers: pp of validation accuracy"
"""A line of its own: a phone has no room for both beside each other."""
_ROW = 22
"""Pixels a layer."""
_AROUND = 126
"""Pixels above and below the rows."""
_WITH_NUMBERS = 16
"""With more columns than this, a cell is too narrow for its number."""
_FULL = 0.75
"""The root of the drop at which a cell has its full colour; more than half of the accuracy."""


def sensitivity_heatmap(sensitivity: pd.DataFrame) -> go.Figure:
    """A row a layer, a column a ratio; colour and number are the accuracy that is lost.

    The colour grows with the square root of the drop, so that a point in a hundred is seen. A cell
    in which rounding left the layer whole is empty.

    Args:
        sensitivity: The columns layer, ratio, removed, accuracy and accuracy_drop (shares), every
            layer with the same ratios.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(
        sensitivity,
        ("layer", "ratio", "removed", "accuracy", "accuracy_drop"),
        "sensitivity",
    )
    return _heatmap(
        sensitivity.rename(columns={"ratio": "column"}),
        _Words(
            stage="pruned",
            title="Accuracy lost when one layer is pruned",
            x_title=f"Share of the layer that goes{_NUMBERS}",
            column=lambda ratio: f"{100 * ratio:g}%",
            cell=lambda removed: f"{units.percent(removed)} of it gone",
        ),
    )


def bits_heatmap(sensitivity: pd.DataFrame) -> go.Figure:
    """A row a layer, a column a number of bits; colour and number are the accuracy that is lost.

    Args:
        sensitivity: The columns layer, bits, accuracy and accuracy_drop (shares), every layer with
            the same bits.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(sensitivity, ("layer", "bits", "accuracy", "accuracy_drop"), "sensitivity")
    return _heatmap(
        sensitivity.assign(column=sensitivity["bits"], removed=sensitivity["bits"]),
        _Words(
            stage="quantized",
            title="Accuracy lost with one layer in few bits",
            x_title=f"Bits of the layer's weights{_NUMBERS}",
            column=lambda bits: f"{bits:.0f}",
            cell=lambda bits: f"{bits:.0f} bits",
        ),
    )


class _Words(NamedTuple):
    """What a heat map speaks of."""

    stage: str
    """The one whose colour it has."""
    title: str
    x_title: str
    column: Callable[[float], str]
    cell: Callable[[float], str]
    """What is said of a cell when it is pointed at."""


def _heatmap(sensitivity: pd.DataFrame, words: _Words) -> go.Figure:
    layers = list(dict.fromkeys(sensitivity["layer"]))
    figure = canvas(words.title, height=_AROUND + _ROW * max(len(layers), 4), x_title=words.x_title)
    if not layers:
        return not_measured(figure, "Sensitivity")
    table = sensitivity.set_index(["layer", "column"]).unstack("column").loc[layers]
    columns = list(table["removed"].columns)
    removed, accuracy, drop = (
        table[column].to_numpy(dtype=float) for column in ("removed", "accuracy", "accuracy_drop")
    )
    gone = removed > 0
    numbers = len(columns) <= _WITH_NUMBERS
    figure.add_heatmap(
        x=[words.column(column) for column in columns],
        y=[label(str(layer)) for layer in layers],
        # The root is in the values and not in the colour scale, so that the scale has two colours
        # and a page can exchange them.
        z=np.where(gone, np.round(np.sqrt(np.clip(drop, 0, None)), 3), np.nan),
        text=_texts(drop, gone) if numbers else None,
        texttemplate="%{text}" if numbers else None,
        textfont={"size": 11, "color": LIGHT.ink},
        customdata=[
            [f"{words.cell(cell)}: {units.percent(score)}" for cell, score in row]
            for row in (zip(*pair, strict=True) for pair in zip(removed, accuracy, strict=True))
        ],
        zmin=0,
        zmax=_FULL,
        colorscale=cell_scale(words.stage),
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        hoverongaps=False,
        name="accuracy lost",
    )
    figure.update_xaxes(type="category", showline=False, ticks="", side="bottom")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def _texts(drop: np.ndarray, gone: np.ndarray) -> list[list[str]]:
    """Points with one digit; nothing where nothing went."""
    return [
        [f"{100 * points:.1f}" if there else "" for points, there in zip(*row, strict=True)]
        for row in zip(drop, gone, strict=True)
    ]
