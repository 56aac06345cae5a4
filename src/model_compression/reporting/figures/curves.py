"""How each stage learned: validation accuracy or loss by epoch.

Knows histories as lists of rows, one an epoch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.figures.labels import Mark, add_labels
from model_compression.reporting.palette import stage_colours, stage_symbols
from model_compression.reporting.readings import number

# The share of all epochs' values that may lie beyond the axis: the first epochs, in which every
# curve is steep and none says anything about compression.
_STEEP = 0.15
# Up to here every epoch has its tick; plotly alone would also write half epochs.
_FEW_EPOCHS = 10

History = Sequence[Mapping[str, Any]]
"""Rows with ``epoch`` (from 1), ``validation_accuracy``, ``train_accuracy`` and the losses."""


def training_curves(
    histories: Mapping[str, History],
    measure: Literal["accuracy", "loss"] = "accuracy",
    kept: Mapping[str, float] | None = None,
) -> go.Figure:
    """Validation (solid) and training (dotted) curves of all stages, the epoch kept marked.

    The axis leaves out the steep beginning, so that the ends can be told apart.

    Training losses are left out: each stage's objective is its own, so they do not compare.

    Args:
        histories: By stage; a missing value leaves a gap.
        measure: What to draw.
        kept: By stage, the epoch whose network its file holds; where it is not known, the one with
            the lowest validation loss is marked, by which stages choose.
    """
    title = "Accuracy by epoch" if measure == "accuracy" else "Validation loss by epoch, in nats"
    figure = canvas(title, x_title="Epoch")
    drawn = {
        stage: rows
        for stage, rows in histories.items()
        if any(not math.isnan(number(row, f"validation_{measure}")) for row in rows)
    }
    if not drawn:
        return not_measured(figure, f"Validation {measure}")
    colours, symbols = stage_colours(drawn), stage_symbols(drawn)
    in_words = units.percent if measure == "accuracy" else "{:.3f}".format
    marked: dict[str, tuple[float, float]] = {}
    for stage, rows in drawn.items():
        epochs = [number(row, "epoch") for row in rows]
        validation = [number(row, f"validation_{measure}") for row in rows]
        draw = partial(
            _add_line, figure, stage=stage, epochs=epochs, colour=colours[stage], in_words=in_words
        )
        if measure == "accuracy":
            training = [number(row, "train_accuracy") for row in rows]
            draw(kind="training", values=training)
        draw(kind="validation", values=validation)
        at = _kept(rows, validation, (kept or {}).get(stage, math.nan))
        marked[stage] = (epochs[at], validation[at])
        figure.add_scatter(
            x=[epochs[at]],
            y=[validation[at]],
            mode="markers",
            marker={"color": colours[stage], "symbol": symbols[stage], "size": 9},
            hoverinfo="skip",
            name=f"{label(stage)}, kept epoch",
        )
    _add_labels(figure, marked, rising=measure == "accuracy")
    figure.update_yaxes(tickformat=".0%" if measure == "accuracy" else ".2f", nticks=6)
    return figure


def _add_line(
    figure: go.Figure,
    *,
    stage: str,
    kind: str,
    epochs: Sequence[float],
    values: Sequence[float],
    colour: str,
    in_words: Callable[[float], str],
) -> None:
    solid = kind == "validation"
    figure.add_scatter(
        x=list(epochs),
        y=[None if math.isnan(value) else value for value in values],
        # A curve of one epoch is a point that no line shows.
        mode="lines" if len(epochs) > 1 else "markers",
        line={"color": colour, "width": 2 if solid else 1, "dash": "solid" if solid else "dot"},
        marker={"color": colour, "size": 5},
        customdata=[in_words(value) for value in values],
        hovertemplate=f"<b>{label(stage)}</b>, {kind}<br>epoch %{{x}}: %{{customdata}}"
        "<extra></extra>",
        name=f"{label(stage)}, {kind}",
    )


def _kept(rows: History, values: Sequence[float], epoch: float) -> int:
    """The row of an epoch, or else of the lowest validation loss, that has a value to mark."""
    known = [index for index, value in enumerate(values) if not math.isnan(value)]
    for index in known:
        if number(rows[index], "epoch") == epoch:
            return index
    losses = [number(row, "validation_loss") for row in rows]
    return min(known, key=lambda index: math.inf if math.isnan(losses[index]) else losses[index])


def _add_labels(
    figure: go.Figure, marked: Mapping[str, tuple[float, float]], *, rising: bool
) -> None:
    lines = [
        [(x, y) for x, y in zip(trace.x, trace.y, strict=True) if y is not None]
        for trace in figure.data
    ]
    epochs = max(x for line in lines for x, _ in line)
    figure.update_xaxes(dtick=1 if epochs <= _FEW_EPOCHS else None)
    add_labels(
        figure,
        [Mark(stage, x, y, y, y) for stage, (x, y) in marked.items()],
        (0, 1.04 * epochs),
        _window([y for line in lines for _, y in line], rising=rising),
        lines,
    )


def _window(values: Sequence[float], *, rising: bool) -> tuple[float, float]:
    """The range in which curves differ: without the first steep epochs, with room for labels."""
    low, high = (
        (float(np.quantile(values, _STEEP)), max(values))
        if rising
        else (min(values), float(np.quantile(values, 1 - _STEEP)))
    )
    room = 0.15 * (high - low) or 0.01
    return low - room, high + room
