"""The comparison of all runs as one HTML page: the fronts, who is on them, and every run.

Knows the table of runs; how a page looks is ``page``'s business.
"""

from typing import Any

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.figures.runs import TRIALS, runs_figure
from model_compression.reporting.page import render_page
from model_compression.reporting.readings import scalar, words
from model_compression.reporting.runs import FRONTS
from model_compression.reporting.sections import Cell, Chart, Section, Table

_DESCRIPTIONS = {
    "size": "Accuracy of every stage of every run against the bytes of its file.",
    "latency": "Accuracy of every stage of every run against its median latency at batch 1.",
    "macs": "Accuracy of every stage of every run against its multiply-accumulates.",
}
_HEAD = ("run", "stage", "accuracy", "file", "MACs", "1 image", "on the front of")
_NAMES = {"size": "size", "latency": "latency", "macs": "MACs"}


def render_runs(table: pd.DataFrame) -> str:
    """Renders the page as one standalone HTML document.

    Args:
        table: As ``run_table`` builds it, or read from its file.

    Raises:
        ValueError: If the table lacks a column.
    """
    runs = table["run_id"].nunique()
    best = table[[f"front_{front}" for front in FRONTS]].any(axis=1)
    return render_page(
        "Comparison of runs",
        [
            Section(
                "fronts",
                "Pareto fronts",
                "A point is on a front if no other is at least as good in both and better in one. "
                "Accuracies are of the test images: whoever chooses among many runs by them finds "
                "the choice a little worse on new images. Latencies are compared on one and the "
                "same processor only.",
                tuple(Chart(runs_figure(table, front), _DESCRIPTIONS[front]) for front in FRONTS),
            ),
            Section("on-a-front", "On a front", blocks=(_table(table[best]),)),
            Section("all", "All runs", blocks=(_table(table),)),
        ],
        summary=f"{runs} {'run' if runs == 1 else 'runs'}, {len(table)} results, {best.sum()} of "
        "them on a front",
        stages=list(dict.fromkeys(table["stage"].astype(str))),
    )


def _table(table: pd.DataFrame) -> Table:
    rows = []
    for _, row in table.iterrows():
        low, high = scalar(row["accuracy_low"]), scalar(row["accuracy_high"])
        run = words(row["run"])
        asked = words(row["overrides"]) or words(row["environment"])
        started = words(row["started"])[:16].replace("T", " ")
        rows.append(
            (
                Cell(run, " · ".join(_unsaid(run, started, asked)), wraps=True),
                Cell(words(row["stage"]), stage=_drawn(row), wraps=True),
                Cell(units.percent(scalar(row["accuracy"]), 2), units.interval(low, high)),
                Cell(
                    units.size(scalar(row["file_bytes"])),
                    f"packed {units.size(scalar(row['packed_bytes']))}",
                ),
                Cell(units.quantity(scalar(row["macs"]))),
                Cell(
                    units.latencies([scalar(row["latency_ms_batch1"])])[0],
                    words(row["cpu"]),
                    wraps=True,
                ),
                Cell(
                    ", ".join(_NAMES[front] for front in FRONTS if row[f"front_{front}"])
                    or units.MISSING
                ),
            )
        )
    return Table(_HEAD, tuple(rows), stacked=True)


def _unsaid(name: str, *facts: str) -> list[str]:
    """The facts that a run's name does not tell yet."""
    return [fact for fact in facts if fact and fact not in name]


def _drawn(row: "pd.Series[Any]") -> str:
    """The stage whose colour the figures give it; none for a trial, as all trials share one."""
    return "" if words(row["kind"]) == TRIALS else words(row["stage"])
