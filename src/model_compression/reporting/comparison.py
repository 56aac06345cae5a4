"""The comparison of the stages: one row each, the project's main result as a table.

Knows the stored evaluations and latencies, not how they are shown.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from model_compression.reporting.readings import (
    Evaluation,
    median_latency,
    number,
    ratio,
    reference_stage,
    text,
)

COLUMNS: Mapping[str, str] = {
    "stage": "str",
    "architecture": "str",
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    "accuracy_drop": "float64",
    "macro_f1": "float64",
    "ece": "float64",
    "parameters": "Int64",
    "nonzero_parameters": "Int64",
    "macs": "Int64",
    "file_bytes": "Int64",
    "packed_bytes": "Int64",
    "latency_ms_batch1": "float64",
    "latency_ms_batch64": "float64",
    "size_ratio": "float64",
    "speedup_batch1": "float64",
    "runtime": "str",
    "training_seconds": "float64",
}
"""The columns of ``comparison.csv`` with their types; people's tools rely on them."""


def comparison_table(evaluations: Mapping[str, Evaluation], latency: pd.DataFrame) -> pd.DataFrame:
    """Builds the table of all stages, in the order of ``evaluations``.

    Accuracies are fractions of the test images with a 95 % Wilson interval. Against the teacher
    (or the first stage, if none is called so): ``accuracy_drop`` is its accuracy minus the
    stage's, so it is negative where a stage is better; ``size_ratio`` its bytes over the stage's
    and ``speedup_batch1`` its median latency over the stage's, so above 1 is an improvement.
    A number that was not measured is missing in its row and in all that derives from it.

    Args:
        evaluations: By stage, as in ``evaluation.json``.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.

    Raises:
        ValueError: If there is no stage, or the latency table lacks a column.
    """
    reference = reference_stage(evaluations)
    baseline = _measured(reference, evaluations[reference], latency)
    rows = []
    for stage, evaluation in evaluations.items():
        row = _measured(stage, evaluation, latency)
        row["accuracy_drop"] = baseline["accuracy"] - row["accuracy"]
        row["size_ratio"] = ratio(baseline["file_bytes"], row["file_bytes"])
        row["speedup_batch1"] = ratio(baseline["latency_ms_batch1"], row["latency_ms_batch1"])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def _measured(stage: str, evaluation: Evaluation, latency: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        column: text(evaluation, column) if kind == "str" else number(evaluation, column)
        for column, kind in COLUMNS.items()
    }
    return row | {
        "stage": stage,
        "latency_ms_batch1": median_latency(latency, stage, 1),
        "latency_ms_batch64": median_latency(latency, stage, 64),
    }
