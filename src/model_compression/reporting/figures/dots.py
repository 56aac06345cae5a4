"""Rows with a mark for every stage: what all dot plots of the report have in common.

Knows numbers by row and stage, not what they mean.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from model_compression.reporting.figures.canvas import label
from model_compression.reporting.palette import stage_colours, stage_symbols

_ROW = 32
"""Pixels a row."""
_AROUND = 110
"""Pixels above and below the rows."""
# The part of a row's height over which its stages are spread, so that equal ones are all seen.
_SPREAD = 0.5


def dots(
    figure: go.Figure,
    rows: Sequence[str],
    values: Mapping[str, npt.NDArray[np.float64]],
    words: Callable[[float], str],
    hollow: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> go.Figure:
    """Draws a row a name and in it a mark a stage; the first row is at the top.

    Args:
        figure: A canvas; changed in place and returned.
        rows: Their names.
        values: By stage, in the rows' order; the axis shows them as shares.
        words: Says a value when a mark is pointed at.
        hollow: By stage: the marks that are drawn as outlines.
    """
    colours, symbols = stage_colours(values), stage_symbols(values)
    shown = [label(name) for name in rows]
    lines = np.arange(len(rows))
    for place, (stage, numbers) in enumerate(values.items()):
        shift = _SPREAD * (place / max(1, len(values) - 1) - 0.5)
        symbol = symbols[stage]
        open_marks = np.zeros(len(rows), dtype=bool) if hollow is None else hollow[stage]
        figure.add_scatter(
            x=numbers,
            y=lines + shift,
            mode="markers",
            marker={
                "color": colours[stage],
                "symbol": [f"{symbol}-open" if empty else symbol for empty in open_marks]
                if open_marks.any()
                else symbol,
                "size": 8,
            },
            customdata=[[shown[line], words(float(numbers[line]))] for line in lines],
            hovertemplate=f"<b>{label(stage)}</b><br>%{{customdata[0]}}: %{{customdata[1]}}"
            "<extra></extra>",
            name=label(stage),
        )
    figure.update_layout(
        height=_AROUND + _ROW * len(shown),
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "xref": "paper",
            "font": {"size": 12},
            "itemclick": False,
            "itemdoubleclick": False,
        },
        margin={"t": 70},
    )
    figure.update_xaxes(tickformat=".0%", nticks=6)
    figure.update_yaxes(tickvals=lines, ticktext=shown, range=[len(rows) - 0.5, -0.5])
    return figure
