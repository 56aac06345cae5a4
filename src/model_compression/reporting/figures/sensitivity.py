"""What every layer bears: accuracy lost by layer and share, as a heat map.

Knows the table of sensitivities; not how it was measured.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, stage_colours
from model_compression.reporting.readings import require_columns

_TITLE = "Accuracy lost when one layer is pruned"
_ROW = 22
"""Pixels a layer."""
_AROUND = 110
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
    layers = list(dict.fromkeys(sensitivity["layer"]))
    figure = canvas(
        _TITLE,
        height=_AROUND + _ROW * max(len(layers), 4),
        x_title="Share of the layer that goes; numbers: percentage points of validation accuracy",
    )
    if not layers:
        return not_measured(figure, "Sensitivity")
    table = sensitivity.set_index(["layer", "ratio"]).unstack("ratio").loc[layers]
    ratios = list(table["removed"].columns)
    removed, accuracy, drop = (
        table[column].to_numpy(dtype=float) for column in ("removed", "accuracy", "accuracy_drop")
    )
    gone = removed > 0
    numbers = len(ratios) <= _WITH_NUMBERS
    figure.add_heatmap(
        x=[f"{100 * ratio:g}%" for ratio in ratios],
        y=[label(str(layer)) for layer in layers],
        # The root is in the values and not in the colour scale, so that the scale has two colours
        # and a page can exchange them.
        z=np.where(gone, np.round(np.sqrt(np.clip(drop, 0, None)), 3), np.nan),
        text=_texts(drop, gone) if numbers else None,
        texttemplate="%{text}" if numbers else None,
        textfont={"size": 11},
        customdata=[
            [f"{units.percent(cell)} of it gone: {units.percent(score)}" for cell, score in row]
            for row in (zip(*pair, strict=True) for pair in zip(removed, accuracy, strict=True))
        ],
        zmin=0,
        zmax=_FULL,
        colorscale=[[0, LIGHT.surface], [1, stage_colours(["pruned"])["pruned"]]],
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
