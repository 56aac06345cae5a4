"""Where the errors are: confusion matrices, and the recall of every class by stage.

Knows confusion tables: rows are the true classes, columns the predicted ones, cells are counts.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.figures.dots import dots
from model_compression.reporting.palette import LIGHT, cell_scale
from model_compression.reporting.readings import reference_stage

_Counts = npt.NDArray[np.int64]
_Shares = npt.NDArray[np.float64]

# Above these many classes, a cell is too small for its count, and a page too small for the cells.
_WITH_COUNTS = 20
_LARGEST = 60
# The root of the share at which a cell has its full colour; more than half of the class.
_FULL = 0.75
_MOST_LINES = 20


def confusion_figure(confusion: pd.DataFrame, stage: str, largest: int = _LARGEST) -> go.Figure:
    """A confusion matrix: colour is the share of its row, text the count.

    The colour grows with the square root of the share, so that one error in a hundred is seen.

    Args:
        confusion: _Counts; the index names the true classes, the columns the predicted ones.
        stage: Gives the colour and the title.
        largest: With more classes than this, only those with the most errors are shown.

    Raises:
        ValueError: If rows and columns do not name the same classes in the same order.
    """
    counts, names = _counts(confusion)
    shares = _shares(counts)
    title = f"{stage}: true class by predicted class"
    if len(names) > largest:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-errors, kind="stable")[:largest])
        counts, shares = counts[np.ix_(kept, kept)], shares[np.ix_(kept, kept)]
        title = f"{stage}: the {largest} of {len(names)} classes with the most errors"
        names = [names[index] for index in kept]
    figure = canvas(title, height=430)
    labels = [label(name) for name in names]
    figure.add_heatmap(
        x=labels,
        y=labels,
        # The root is in the values and not in the colour scale, so that the scale has two colours
        # and a page can exchange them.
        z=np.round(np.sqrt(shares), 3),
        text=[[units.exact(count) if count else "" for count in row] for row in counts]
        if len(names) <= _WITH_COUNTS
        else None,
        texttemplate="%{text}" if len(names) <= _WITH_COUNTS else None,
        textfont={"size": 11, "color": LIGHT.ink},
        customdata=[[units.percent(share) for share in row] for row in shares],
        zmin=0,
        zmax=_FULL,
        colorscale=cell_scale(stage),
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="true %{y}<br>predicted %{x}<br>%{customdata} of the class<extra></extra>",
        name=label(stage),
    )
    figure.update_xaxes(
        type="category", tickangle=-45, showline=False, ticks="", side="bottom", constrain="domain"
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def recall_by_class(confusions: Mapping[str, pd.DataFrame]) -> go.Figure:
    """The share of each class that each stage gets right, the class hardest for the teacher first.

    With more than twenty classes, only the hardest are shown.

    Args:
        confusions: By stage, as for ``confusion_figure``, all with the same classes.

    Raises:
        ValueError: If a table's rows and columns, or two stages' classes, do not agree.
    """
    figure = canvas("Recall by class")
    if not confusions:
        return not_measured(figure, "Recall by class")
    reference = reference_stage(confusions)
    names = _counts(confusions[reference])[1]
    recalls = {}
    for stage, confusion in confusions.items():
        counts, own_names = _counts(confusion)
        if own_names != names:
            raise ValueError(
                f"The confusion tables of {reference} and {stage} have different classes: "
                f"{names} and {own_names}. Evaluate both on the same data."
            )
        recalls[stage] = np.diag(_shares(counts))
    order = np.argsort(recalls[reference], kind="stable")[:_MOST_LINES]
    return dots(
        figure,
        [names[index] for index in order],
        {stage: recall[order] for stage, recall in recalls.items()},
        units.percent,
    )


def _counts(confusion: pd.DataFrame) -> tuple[_Counts, list[str]]:
    names = [str(name) for name in confusion.columns]
    rows = [str(name) for name in confusion.index]
    if rows != names:
        raise ValueError(
            "A confusion table has the same classes as rows and as columns; got the rows "
            f"{rows[:5]} and the columns {names[:5]}. Read from a CSV file, it needs index_col=0."
        )
    return confusion.to_numpy(dtype=np.int64), names


def _shares(counts: _Counts) -> _Shares:
    """Each row divided by its sum; a class without images has only zeros."""
    shares: _Shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares
