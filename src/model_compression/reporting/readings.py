"""Reads evaluations and latency tables as they are stored; a number that is not there is NaN.

Knows the names of the stored values, not how they were measured or will be shown.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

Evaluation = Mapping[str, Any]
"""What ``evaluation.json`` holds of one stage: counts, shares, bytes, and ``paired`` but for the
teacher."""

REFERENCE = "teacher"


def number(evaluation: Evaluation, *path: str) -> float:
    """The number under ``path``; NaN if a step of the path is missing or ``None``."""
    value: Any = evaluation
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return math.nan if value is None else float(value)


def ratio(first: float, second: float) -> float:
    """``first / second``; NaN where one is not known or not positive, as then neither is a cost."""
    return first / second if first > 0 and second > 0 else math.nan


def text(evaluation: Evaluation, key: str) -> str:
    """The text under ``key``; empty if it is missing or ``None``."""
    value = evaluation.get(key)
    return "" if value is None else str(value)


def reference_stage(stages: Collection[str]) -> str:
    """The stage that all others are compared with: the teacher, or else the first.

    Raises:
        ValueError: If there is no stage at all.
    """
    if not stages:
        raise ValueError(
            "Expected the evaluation of at least one stage, got none; run a training pipeline "
            "first."
        )
    return REFERENCE if REFERENCE in stages else next(iter(stages))


def scalar(value: Any) -> float:
    """A number from a table's cell; NaN if it is missing in whichever way."""
    return math.nan if pd.isna(value) else float(value)


def words(value: Any) -> str:
    """A text from a table's cell; empty if it is missing."""
    return "" if pd.isna(value) else str(value)


def require_columns(frame: pd.DataFrame, columns: Collection[str], what: str) -> None:
    """Checks that a table has the columns that its reader needs.

    Raises:
        ValueError: Naming the table, the missing columns and the ones that are there.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"The {what} table lacks the columns {missing}; it has {list(frame.columns)}. "
            "Run the pipeline that writes it again."
        )


def latency_of(latency: pd.DataFrame, stage: str, batch_size: int) -> "pd.Series[float]":
    """One stage's times in ms at one batch size, by repeat; empty where nothing was measured."""
    require_columns(latency, ("stage", "batch_size", "repeat", "latency_ms"), "latency")
    chosen = latency[(latency["stage"] == stage) & (latency["batch_size"] == batch_size)]
    return chosen.groupby("repeat")["latency_ms"].median()


def median_latency(latency: pd.DataFrame, stage: str, batch_size: int) -> float:
    """The median over the repeats in ms; NaN where nothing was measured."""
    values = latency_of(latency, stage, batch_size)
    return float(values.median()) if len(values) else math.nan
