"""The times of every turn, not only their middle.

Knows the latency table; nothing of how it was measured.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.axes import cost_range, round_ticks
from model_compression.reporting.figures.canvas import canvas, label, not_measured
from model_compression.reporting.palette import LIGHT, stage_colours
from model_compression.reporting.readings import latency_of

_ROW = 52
"""Pixels a stage."""
_AROUND = 100
"""Pixels above and below the rows: title, axis and its title."""


def latency_distribution(
    latency: pd.DataFrame, stages: Sequence[str], batch_size: int = 1
) -> go.Figure:
    """A row a stage: every turn as a point, against the stage's own median, and a box.

    A network that takes a tenth of another's time has a tenth of its spread: on one axis of
    milliseconds neither would be seen. So each is divided by its own median, which its row names,
    and the logarithmic axis gives equal factors equal lengths. The box goes from quartile to
    quartile, the whiskers end at the furthest turns within 1.5 times its width.

    Args:
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        stages: Which to draw, in their order.
        batch_size: Which of the measured batch sizes to show.

    Raises:
        ValueError: If the table lacks a column.
    """
    times = {
        stage: values
        for stage in stages
        if len(values := latency_of(latency, stage, batch_size).dropna())
    }
    what = "one image" if batch_size == 1 else f"a batch of {batch_size}"
    figure = canvas(
        f"Spread of the time for {what}",
        height=_AROUND + _ROW * max(len(times), 3),
        x_title="Relative to the median, logarithmic",
    )
    if not times:
        return not_measured(figure, "Latency")
    colours = stage_colours(stages)
    medians = {stage: float(values.median()) for stage, values in times.items()}
    texts = dict(zip(medians, units.latencies(list(medians.values())), strict=True))
    rows = {stage: f"{label(stage)}<br>{texts[stage]}" for stage in times}
    for stage, values in times.items():
        turns = [float(value) for value in values]
        figure.add_box(
            x=[turn / medians[stage] for turn in turns],
            y=[rows[stage]] * len(turns),
            orientation="h",
            quartilemethod="linear",
            boxpoints="all",
            jitter=0.6,
            pointpos=0,
            width=0.66,
            fillcolor="rgba(0,0,0,0)",
            line={"color": colours[stage], "width": 1.5},
            marker={"color": colours[stage], "size": 4, "opacity": 0.5},
            hoveron="points",
            text=[
                f"turn {place}: {units.latencies([turn, max(medians.values())])[0]}"
                for place, turn in enumerate(turns, start=1)
            ],
            hovertemplate=f"<b>{label(stage)}</b><br>%{{text}}<extra></extra>",
            name=label(stage),
        )
    limits = cost_range([ratio for box in figure.data for ratio in box.x])
    ticks = round_ticks(*(10**limit for limit in limits))
    figure.update_xaxes(
        type="log",
        range=list(limits),
        tickangle=0,
        tickvals=ticks,
        ticktext=[f"{tick:.4g}{units.TIMES}" for tick in ticks],
        showgrid=True,
    )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(reversed(rows.values())),
        showgrid=False,
        tickfont={"color": LIGHT.ink, "size": 12},
    )
    return figure
