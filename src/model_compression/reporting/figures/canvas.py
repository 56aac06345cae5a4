"""The empty figure that every chart starts from: type, axes, margins.

Knows no data. All its neutral colours come from ``palette.LIGHT``, so that a page can exchange
them for its own.
"""

import html
from typing import Any

import plotly.graph_objects as go

from model_compression.reporting.palette import LIGHT

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def canvas(title: str, *, height: int = 360, x_title: str = "") -> go.Figure:
    """An empty figure with a title at the left, horizontal rules only, and no legend."""
    axis: dict[str, Any] = {
        "automargin": True,
        "zeroline": False,
        "gridcolor": LIGHT.rule,
        "linecolor": LIGHT.rule,
        "tickfont": {"color": LIGHT.muted, "size": 12},
        "title": {"font": {"color": LIGHT.muted, "size": 12}, "standoff": 10},
    }
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 14, "t": 44, "b": 8},
        paper_bgcolor=LIGHT.paper,
        plot_bgcolor=LIGHT.paper,
        font={"family": FONT, "color": LIGHT.ink, "size": 12},
        title={
            "text": f"<b>{label(title)}</b>",
            "font": {"size": 14, "color": LIGHT.ink},
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 8, "l": 4},
        },
        showlegend=False,
        hoverlabel={
            "bgcolor": LIGHT.surface,
            "bordercolor": LIGHT.rule,
            "font": {"family": FONT, "color": LIGHT.ink, "size": 12},
            "align": "left",
        },
        xaxis={
            **axis,
            "showgrid": False,
            "showline": True,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": LIGHT.rule,
        },
        yaxis=axis,
    )
    figure.update_xaxes(title_text=x_title)
    return figure


def label(text: str) -> str:
    """A text as plotly shows it literally: its pseudo-HTML is escaped."""
    return html.escape(text, quote=False)


def not_measured(figure: go.Figure, what: str) -> go.Figure:
    """Says in the figure's middle that there is nothing to show, instead of empty axes."""
    figure.add_annotation(
        text=f"{label(what)} not measured",
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"color": LIGHT.muted, "size": 13},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
