"""The report: verdict, comparison, charts, proof and reproduction in one HTML page.

Knows the order of the sections; each of them is built elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.chapters import (
    classes_section,
    comparison_section,
    reproduction_section,
    tradeoff_section,
    training_section,
)
from model_compression.reporting.comparison import comparison_table
from model_compression.reporting.details import details_section
from model_compression.reporting.figures.curves import History
from model_compression.reporting.page import KeyFigure, render_page
from model_compression.reporting.readings import (
    Evaluation,
    median_latency,
    number,
    ratio,
    reference_stage,
    text,
)
from model_compression.reporting.recommendation import Recommendation
from model_compression.reporting.sections import Section
from model_compression.reporting.timing import timing_section
from model_compression.reporting.verdict import verdict


def render_report(
    evaluations: Mapping[str, Evaluation],
    histories: Mapping[str, History],
    latency: pd.DataFrame,
    confusions: Mapping[str, pd.DataFrame],
    recommendation: Recommendation,
    provenance: Mapping[str, Any],
    *,
    title: str = "Model compression report",
    more_sections: Sequence[Section] = (),
) -> str:
    """Renders the report as one standalone HTML document.

    Args:
        evaluations: By stage, in their order, as in ``evaluation.json``.
        histories: By stage: rows with ``epoch`` and the training and validation values.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        confusions: By stage: counts, the true classes as index, the predicted ones as columns.
        recommendation: The file to ship, which the verdict is about.
        provenance: How to get the numbers again: ``command``, ``created``, and mappings such as
            ``versions`` and ``fingerprints``.
        title: The document's title.
        more_sections: Shown after the report's own results and before the details.

    Raises:
        ValueError: If there is no stage, or a table is not as described.
    """
    comparison = comparison_table(evaluations, latency)
    judged = verdict(evaluations, latency, recommendation.stage)
    return render_page(
        title,
        [
            comparison_section(comparison, evaluations, recommendation.stage),
            tradeoff_section(comparison, latency),
            *([timing_section(latency, list(evaluations))] if len(latency) else []),
            *([training_section(histories, evaluations)] if histories else []),
            *([classes_section(confusions)] if confusions else []),
            *more_sections,
            details_section(evaluations),
            reproduction_section(provenance),
        ],
        summary=judged.summary,
        advice=recommendation.advice,
        key_figures=_key_figures(evaluations, latency, recommendation.stage),
        warnings=judged.warnings,
        facts=[fact for key in ("data", "created") if (fact := text(provenance, key))],
        stages=list(evaluations),
    )


def _key_figures(
    evaluations: Mapping[str, Evaluation], latency: pd.DataFrame, shipped: str
) -> list[KeyFigure]:
    reference = reference_stage(evaluations)
    if reference == shipped:
        return []
    first, last = evaluations[reference], evaluations[shipped]
    drop = number(first, "accuracy") - number(last, "accuracy")
    was, now = (median_latency(latency, stage, 1) for stage in (reference, shipped))
    before, after = units.latencies([was, now])
    figures = [
        KeyFigure(
            "File size",
            units.factor(
                ratio(number(first, "file_bytes"), number(last, "file_bytes")),
                more="smaller",
                less="larger",
                same="unchanged",
            ),
            f"{units.size(number(first, 'file_bytes'))} \u2192 "
            f"{units.size(number(last, 'file_bytes'))}",
        ),
        KeyFigure(
            "Time for one image",
            units.factor(ratio(was, now), more="faster", less="slower", same="unchanged"),
            f"{before} \u2192 {after}",
        ),
        KeyFigure(
            "Accuracy",
            units.points(-drop),
            f"{units.percent(number(first, 'accuracy'), 2)} \u2192 "
            f"{units.percent(number(last, 'accuracy'), 2)}",
        ),
    ]
    return [figure for figure in figures if figure.value != units.MISSING]
