"""Images and ``student`` → sensitivities → heat map, allocation, comparison."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.pruning_sensitivity.nodes import allocate_ratios, draw, scan

READ = ["train_images", "validation_images", "student.checkpoint"]
PARAMETERS = ["params:pruning", "params:pruning_sensitivity"]


def create_pipeline() -> Pipeline:
    """What the student's layers bear, and how the pruning's target is best met by them."""
    return Pipeline(
        [
            Node(scan, [*READ, *PARAMETERS], "pruning_sensitivity.table", name="scan"),
            Node(
                draw,
                "pruning_sensitivity.table",
                "pruning_sensitivity_figure",
                name="draw_sensitivity",
            ),
            Node(
                allocate_ratios,
                [*READ, "pruning_sensitivity.table", *PARAMETERS],
                ["pruning_sensitivity.allocation", "pruning_sensitivity.comparison"],
                name="allocate_ratios",
            ),
        ],
        tags="pruning_sensitivity",
    )
