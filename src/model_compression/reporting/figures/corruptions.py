"""What corruptions leave of the accuracy: all stages by corruption, and one stage by severity.

Knows the tables of accuracies; not how images are corrupted.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.figures.dots import dots
from model_compression.reporting.palette import LIGHT, cell_scale
from model_compression.reporting.readings import require_columns

_ROW = 24
"""Pixels a corruption."""
_FULL = 0.75
"""The root of the loss at which a cell has its full colour; more than half of the accuracy."""


def corruption_figure(corruptions: Mapping[str, pd.DataFrame]) -> go.Figure:
    """The mean over the severities for every corruption and stage, the clean images on top.

    Args:
        corruptions: By stage: columns corruption, family, severity, accuracy; severity 0 are the
            clean images.

    Raises:
        ValueError: If a table lacks a column.
    """
    figure = canvas("Accuracy by corruption", x_title="Mean over the five severities")
    means = {
        stage: _checked(table).groupby("corruption", sort=False)["accuracy"].mean()
        for stage, table in corruptions.items()
    }
    if not means:
        return not_measured(figure, "Corruptions")
    names = list(next(iter(means.values())).index)
    return dots(
        figure,
        [corruption_in_words(name) for name in names],
        {stage: mean.loc[names].to_numpy() for stage, mean in means.items()},
        units.percent,
    )


def severity_heatmap(table: pd.DataFrame, stage: str) -> go.Figure:
    """A row a corruption, a column a severity: the number is the accuracy, the colour its loss.

    The colour grows with the square root of what is lost against the clean images, so that a point
    in a hundred is seen.

    Args:
        table: Of one stage, as for ``corruption_figure``.
        stage: Gives the colour and the title.

    Raises:
        ValueError: If the table lacks a column.
    """
    clean = float(_checked(table).loc[table["severity"] == 0, "accuracy"].iloc[0])
    corrupted = table[table["severity"] > 0]
    names = list(dict.fromkeys(corrupted["corruption"]))
    grid = corrupted.pivot(index="corruption", columns="severity", values="accuracy").loc[names]
    accuracy = grid.to_numpy(dtype=float)
    figure = canvas(
        f"{stage}: {units.percent(clean)} clean", height=100 + _ROW * len(names), x_title="Severity"
    )
    figure.add_heatmap(
        x=[str(level) for level in grid.columns],
        y=[label(corruption_in_words(name)) for name in names],
        # The root is in the values and not in the colour scale, so that the scale has two colours
        # and a page can exchange them.
        z=np.round(np.sqrt(np.clip(clean - accuracy, 0, None)), 3),
        text=[[f"{100 * value:.0f}" for value in row] for row in accuracy],
        texttemplate="%{text}",
        textfont={"size": 11, "color": LIGHT.ink},
        customdata=[
            [f"{units.percent(value)}, {units.points(value - clean)}" for value in row]
            for row in accuracy
        ],
        zmin=0,
        zmax=_FULL,
        colorscale=cell_scale(stage),
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="<b>%{y}</b>, severity %{x}<br>%{customdata}<extra></extra>",
        name=label(stage),
    )
    figure.update_xaxes(type="category", showline=False, ticks="", side="bottom")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def corruption_in_words(name: str) -> str:
    """``gaussian_noise`` as people write it; the clean images have no corruption."""
    special = {"none": "clean", "jpeg_compression": "JPEG"}
    return special.get(name, name.replace("_", " "))


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    require_columns(table, ("corruption", "family", "severity", "accuracy"), "corruptions")
    return table
