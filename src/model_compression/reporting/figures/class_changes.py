"""What each class gained or lost against the teacher.

Knows the table of changes; not how its tests were made.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units
from model_compression.reporting.figures.canvas import canvas, not_measured
from model_compression.reporting.figures.dots import dots
from model_compression.reporting.palette import LIGHT
from model_compression.reporting.readings import require_columns

SIGNIFICANT = 0.05
_MOST_LINES = 20


def class_changes_figure(changes: pd.DataFrame) -> go.Figure:
    """Each stage's change of every class; filled marks are changes that chance hardly makes.

    The class that changed most in the last stage comes first; with more than twenty classes, only
    those that changed most are shown.

    Args:
        changes: A row a stage and class, with the columns stage, class, change and p_value.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(changes, ("stage", "class", "change", "p_value"), "class changes")
    figure = canvas("Accuracy by class against the teacher", x_title="Percentage points (pp)")
    if changes.empty:
        return not_measured(figure, "Changes by class")
    stages = list(dict.fromkeys(changes["stage"]))
    by_stage = {stage: changes[changes["stage"] == stage].set_index("class") for stage in stages}
    last = by_stage[stages[-1]]["change"]
    order = last.index[np.argsort(-last.abs().to_numpy(), kind="stable")][:_MOST_LINES]
    figure = dots(
        figure,
        [str(name) for name in order],
        {stage: 100 * table.loc[order, "change"].to_numpy() for stage, table in by_stage.items()},
        lambda change: units.points(change / 100),
        hollow={
            stage: table.loc[order, "p_value"].to_numpy() >= SIGNIFICANT
            for stage, table in by_stage.items()
        },
    )
    figure.add_vline(x=0, line={"color": LIGHT.muted, "width": 1})
    figure.update_xaxes(tickformat="+~g")
    return figure
