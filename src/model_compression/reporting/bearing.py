"""The report's section on what single layers bear, if that was measured of the present networks.

Knows tables of sensitivities and which network each is of; not how they were measured.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting.figures import bits_heatmap, sensitivity_heatmap
from model_compression.reporting.readings import Evaluation, text
from model_compression.reporting.sections import Chart, Section

NETWORK = "network"
"""The column with the fingerprint of the network that a table is of."""


class _Study(NamedTuple):
    pipeline: str
    stage: str
    """Whose network was looked at."""
    draw: Callable[[pd.DataFrame], go.Figure]
    description: str


_PRUNING = _Study(
    "pruning_sensitivity",
    "student",
    sensitivity_heatmap,
    "Accuracy lost by layer and share of it that goes, as a heat map with numbers.",
)
_BITS = _Study(
    "quantization_sensitivity",
    "pruned",
    bits_heatmap,
    "Accuracy lost by layer and bits of its weights, as a heat map with numbers.",
)


def bearing_sections(
    evaluations: Mapping[str, Evaluation],
    pruning: pd.DataFrame | None = None,
    bits: pd.DataFrame | None = None,
) -> list[Section]:
    """A section with the heat maps of the studies that there are; none without any.

    A study of another network than the one that was evaluated, or one that does not say of which it
    is, is not drawn: the section says so, and how to get one.

    Args:
        evaluations: By stage, as in ``evaluation.json``.
        pruning: The table of ``pruning_sensitivity``, of the student.
        bits: The table of ``quantization_sensitivity``, of the pruned network.

    Raises:
        ValueError: If a table of the present network lacks a column.
    """
    charts, remarks = [], []
    for study, table in ((_PRUNING, pruning), (_BITS, bits)):
        if table is None or table.empty:
            continue
        of = _network(table)
        current = text(evaluations.get(study.stage, {}), "fingerprint")
        if of and of == current:
            charts.append(Chart(study.draw(table), study.description))
        else:
            remarks.append(_remark(study, of))
    if not charts and not remarks:
        return []
    lead = (
        [
            "One layer at a time is cut or rounded, nothing is trained after it, and the network "
            "is judged on validation images. The colour grows with the square root of the loss, "
            "so that small ones show."
        ]
        if charts
        else []
    )
    return [
        Section("sensitivity", "What each layer bears", " ".join([*lead, *remarks]), tuple(charts))
    ]


def _network(table: pd.DataFrame) -> str:
    """The one network that a table is of; empty if it does not say, or names several."""
    if NETWORK not in table.columns:
        return ""
    named = {str(name) for name in table[NETWORK] if not pd.isna(name)}
    return named.pop() if len(named) == 1 else ""


def _remark(study: _Study, of: str) -> str:
    what = (
        f"is of another network ({of[:12]}\u2026) than the {study.stage} here"
        if of
        else "does not say of which network it is"
    )
    return (
        f"The table of {study.pipeline} that was found {what}, so it is not shown: "
        f"kedro run --pipeline={study.pipeline} makes a new one."
    )
