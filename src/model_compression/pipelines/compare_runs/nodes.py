"""All runs that MLflow knows of: table, Pareto fronts, page."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from model_compression import reporting
from model_compression.pipelines.compare_runs.parameters import CompareRunsParameters


def gather_runs(
    experiments: Mapping[str, Sequence[Mapping[str, Any]]], parameters: CompareRunsParameters
) -> pd.DataFrame:
    """A row a stage of every finished run, newest first, with whether it is on the fronts.

    Args:
        experiments: Rows by the experiment's name, read when they are asked for.
        parameters: Which of them.

    Raises:
        ValueError: If there is no such experiment, or nothing in it that could be compared.
    """
    rows: list[Mapping[str, Any]] = []
    for name in parameters.experiments:
        try:
            found = experiments[name]
        except KeyError as error:
            raise ValueError(
                f"MLflow has no experiment {name!r}; it has {', '.join(experiments) or 'none'}: "
                "name others in compare_runs.experiments, or run a pipeline first, such as "
                "kedro run --pipeline=compress"
            ) from error
        rows += [row for row in found if parameters.trials or row["kind"] == "stage"]
    if not rows:
        raise ValueError(
            f"MLflow has no finished run with a judged stage in {', '.join(parameters.experiments)}"
            ": run a pipeline that makes one first, such as kedro run --pipeline=compress (with "
            "the same --env), or name other experiments in compare_runs.experiments"
        )
    return reporting.run_table(rows)


def draw(table: pd.DataFrame) -> tuple[Figure, Figure, Figure]:
    """Accuracy against size, latency and multiply-accumulates, each with its Pareto front."""
    return (
        reporting.runs_figure(table, "size"),
        reporting.runs_figure(table, "latency"),
        reporting.runs_figure(table, "macs"),
    )


def write_page(table: pd.DataFrame) -> str:
    """The fronts and the table as one HTML page."""
    return reporting.render_runs(table)
