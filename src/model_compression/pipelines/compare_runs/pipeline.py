"""MLflow's runs → table → Pareto fronts, page."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.compare_runs.nodes import draw, gather_runs, write_page


def create_pipeline() -> Pipeline:
    """All finished runs, compared."""
    return Pipeline(
        [
            Node(
                gather_runs,
                ["tracked_experiments", "params:compare_runs"],
                "compare_runs.table",
                name="gather_runs",
            ),
            Node(
                draw,
                "compare_runs.table",
                [
                    "compare_runs_size_figure",
                    "compare_runs_latency_figure",
                    "compare_runs_macs_figure",
                ],
                name="draw_runs",
            ),
            Node(write_page, "compare_runs.table", "compare_runs.page", name="write_runs_page"),
        ],
        tags="compare_runs",
    )
