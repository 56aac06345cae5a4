"""All tracked runs in one table, and which of them nobody beats.

Knows rows as they were read, a row a stage of a run; not where they were read from.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_compression.reporting.readings import require_columns

RUN_COLUMNS: Mapping[str, str] = {
    "run": "str",
    "run_id": "str",
    "started": "str",
    "experiment": "str",
    "pipeline": "str",
    "environment": "str",
    "overrides": "str",
    "commit": "str",
    "kind": "str",
    "stage": "str",
    "model": "str",
    "test_images": "str",
    "cpu": "str",
    "threads": "str",
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    "parameters": "Int64",
    "nonzero_parameters": "Int64",
    "macs": "Int64",
    "file_bytes": "Int64",
    "packed_bytes": "Int64",
    "latency_ms_batch1": "float64",
    "latency_ms_batch64": "float64",
    "training_seconds": "float64",
}
"""What is read of each stage of each run, with its type. ``kind`` is stage or trial; what a run
doesn't tell is empty."""

FRONTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "size": ("file_bytes", ("test_images",)),
    "latency": ("latency_ms_batch1", ("test_images", "cpu", "threads")),
    "macs": ("macs", ("test_images",)),
}
"""The comparisons: which cost, and what has to be the same for two points to be comparable."""


def run_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table, newest run first, with a column ``front_<name>`` for each of ``FRONTS``.

    Accuracies on other test images are not compared with each other, nor latencies on other
    processors or numbers of threads. A run that doesn't tell its processor is only compared with
    itself.

    Args:
        rows: With the keys of ``RUN_COLUMNS``; what is missing or ``None`` is empty.
    """
    columns = {
        name: [_missing(row.get(name), kind) for row in rows] for name, kind in RUN_COLUMNS.items()
    }
    table = pd.DataFrame(columns).astype(dict(RUN_COLUMNS))
    table = table.sort_values("started", ascending=False, kind="stable", ignore_index=True)
    for front in FRONTS:
        table[f"front_{front}"] = on_front(table, front)
    return table


def comparable(table: pd.DataFrame, front: str) -> "pd.Series[str]":
    """For each row, the group within which it may be compared, in words.

    Only what differs between groups is named; the single group of a table without differences is
    the empty text.
    """
    _, same = FRONTS[front]
    require_columns(table, ("run_id", *same), "runs")
    named = table[[*same]].fillna("").astype(str)
    named["test_images"] = named["test_images"].replace("", "unknown images")
    if "cpu" in same:
        named["cpu"] = named["cpu"].where(
            named["cpu"] != "", "unknown processor of run " + table["run_id"].astype(str).str[:8]
        )
        named["threads"] = named["threads"].replace("", "unknown") + " threads"
    differing = [column for column in same if named[column].nunique() > 1]
    return pd.Series(
        [" · ".join(row) for row in named[differing].itertuples(index=False)],
        index=table.index,
        dtype=str,
    )


def on_front(table: pd.DataFrame, front: str) -> NDArray[np.bool_]:
    """Whether each row is on the Pareto front among those that it may be compared with."""
    cost, _ = FRONTS[front]
    chosen = np.zeros(len(table), dtype=bool)
    groups = comparable(table, front).to_numpy()
    costs = table[cost].astype("float64").to_numpy(na_value=math.nan)
    accuracies = table["accuracy"].to_numpy(dtype=np.float64)
    for group in set(groups):
        members = groups == group
        chosen[members] = pareto_front(costs[members], accuracies[members])
    return chosen


def pareto_front(
    costs: NDArray[np.floating], accuracies: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which points no other beats: none is at least as good in both and better in one.

    Args:
        costs: Smaller is better, shape (N,).
        accuracies: Larger is better, shape (N,).

    Returns:
        Shape (N,), bool. Points that are equal in both are on the front together; one with a
        missing value (NaN) is not on it.
    """
    known = ~(np.isnan(costs) | np.isnan(accuracies))
    order = np.lexsort((costs, -accuracies))
    best = math.inf
    at_best = math.nan
    chosen = np.zeros(len(costs), dtype=bool)
    # From the most accurate down, a point has to be cheaper than all before it.
    for index in order:
        if not known[index]:
            continue
        if costs[index] < best:
            best, at_best = float(costs[index]), float(accuracies[index])
            chosen[index] = True
        elif costs[index] == best and accuracies[index] == at_best:
            chosen[index] = True
    return chosen


def _missing(value: Any, kind: str) -> Any:
    if kind == "str":
        return "" if value is None else str(value)
    return math.nan if value is None else float(value)
