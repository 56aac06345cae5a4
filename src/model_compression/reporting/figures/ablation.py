"""Accuracy against bytes of every subset of the flow's steps, with each step as a line.

Knows the ablation's table; nothing of how the trials were trained.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.ablation import STEPS, Subset, neighbours
from model_compression.reporting.figures.axes import accuracy_range, cost_range, draw_axes
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.figures.labels import Mark, add_labels
from model_compression.reporting.palette import LIGHT, stage_colours
from model_compression.reporting.readings import require_columns, scalar

LETTERS = {"distillation": "D", "pruning": "P", "quantization": "Q"}

# Each step in the colour of the stage that it makes.
_STAGES = {"distillation": "student", "pruning": "pruned", "quantization": "quantized"}


class _Trial(NamedTuple):
    """A subset's mean over its seeds."""

    subset: Subset
    size: float
    accuracy: float
    low: float
    high: float
    hover: str

    @property
    def text(self) -> str:
        """``D + Q``, or ``plain`` without any of the steps."""
        letters = [LETTERS[step] for step, has in zip(STEPS, self.subset, strict=True) if has]
        return " + ".join(letters) or "plain"


def ablation_figure(comparison: pd.DataFrame) -> go.Figure:
    """A point a subset of the steps, and a line from each to those with one step more.

    Points of distilled trials are filled.

    Accuracy and bytes are means over the seeds. The bar is the 95 % Wilson interval of a single
    seed's file, or the range from the worst to the best of several.

    Args:
        comparison: As ``ablation_table`` builds it, or read from its file.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(
        comparison,
        ("trial", "seed", *STEPS, "accuracy", "accuracy_low", "accuracy_high", "file_bytes"),
        "ablation",
    )
    figure = canvas(
        "What each step gives",
        height=420,
        x_title="File size, logarithmic; filled: distilled",
    )
    trials = _trials(comparison)
    if not trials:
        return not_measured(figure, "Trials")
    colours = stage_colours(_STAGES.values())
    x_range = cost_range([trial.size for trial in trials])
    y_range = accuracy_range([limit for trial in trials for limit in (trial.low, trial.high)])
    lines = _add_steps(figure, trials, colours)
    figure.add_scatter(
        x=[trial.size for trial in trials],
        y=[trial.accuracy for trial in trials],
        mode="markers",
        marker={
            "color": [LIGHT.ink if trial.subset[0] else LIGHT.paper for trial in trials],
            "line": {"color": LIGHT.ink, "width": 2},
            "size": 10,
        },
        error_y={
            "array": [trial.high - trial.accuracy for trial in trials],
            "arrayminus": [trial.accuracy - trial.low for trial in trials],
            "color": LIGHT.muted,
            "thickness": 1,
            "width": 4,
        },
        customdata=[trial.hover for trial in trials],
        hovertemplate="%{customdata}<extra></extra>",
        name="trials",
        showlegend=False,
    )
    add_labels(
        figure,
        [
            # Beside the point: two bars often lie on one another.
            Mark(trial.text, math.log10(trial.size), *[trial.accuracy] * 3)
            for trial in trials
        ],
        x_range,
        y_range,
        lines=[
            *lines,
            *([(math.log10(each.size), y) for y in (each.low, each.high)] for each in trials),
        ],
    )
    draw_axes(figure, x_range, y_range, units.size)
    figure.update_layout(
        showlegend=True,
        # Below the axis: on a narrow screen it takes several lines.
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "font": {"size": 12}},
    )
    return figure


def _add_steps(
    figure: go.Figure, trials: Sequence[_Trial], colours: dict[str, str]
) -> list[list[tuple[float, float]]]:
    """Draws a trace a step; the lines in axis coordinates."""
    by_subset = {trial.subset: trial for trial in trials}
    drawn = []
    for step in STEPS:
        xs: list[float | None] = []
        ys: list[float | None] = []
        for other, before, after in neighbours():
            if other == step and before in by_subset and after in by_subset:
                ends = (by_subset[before], by_subset[after])
                xs += [*(end.size for end in ends), None]
                ys += [*(end.accuracy for end in ends), None]
                drawn.append([(math.log10(end.size), end.accuracy) for end in ends])
        figure.add_scatter(
            x=xs,
            y=ys,
            mode="lines",
            line={"color": colours[_STAGES[step]], "width": 2},
            hoverinfo="skip",
            name=f"{LETTERS[step]} {step}",
        )
    return drawn


def _trials(comparison: pd.DataFrame) -> list[_Trial]:
    trials = []
    for name, rows in comparison.groupby("trial", sort=False):
        accuracy, size = (scalar(rows[key].mean()) for key in ("accuracy", "file_bytes"))
        if math.isnan(accuracy) or not size > 0:
            continue
        if len(rows) > 1:
            low, high = float(rows["accuracy"].min()), float(rows["accuracy"].max())
            extent = f"{len(rows)} seeds: {units.interval(low, high, 2)}"
        else:
            low, high = (scalar(rows[key].iloc[0]) for key in ("accuracy_low", "accuracy_high"))
            extent = f"one seed, 95 % interval {units.interval(low, high, 2)}"
        trials.append(
            _Trial(
                subset=tuple(bool(rows[step].iloc[0]) for step in STEPS),
                size=size,
                accuracy=accuracy,
                low=low,
                high=high,
                hover=f"<b>{label(str(name))}</b><br>{units.percent(accuracy, 2)}<br>"
                f"{extent}<br>{units.size(size)}",
            )
        )
    return trials
