"""Images and ``teacher`` → trials → comparison, figure."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.distillation_benchmark.nodes import (
    compare_trials,
    draw,
    run_trials,
)

PARAMETERS = "params:distillation_benchmark"


def create_pipeline() -> Pipeline:
    """The ways to teach one student, side by side."""
    return Pipeline(
        [
            Node(
                run_trials,
                [
                    "train_images",
                    "validation_images",
                    "test_images",
                    "normalization",
                    "teacher.checkpoint",
                    "teacher_answers",
                    PARAMETERS,
                    "distillation_benchmark.known_checkpoints",
                    "distillation_benchmark.known_trials",
                ],
                ["distillation_benchmark.checkpoints", "distillation_benchmark.trials"],
                name="run_trials",
            ),
            Node(
                compare_trials,
                ["distillation_benchmark.trials", PARAMETERS],
                "distillation_benchmark.comparison",
                name="compare_trials",
            ),
            Node(
                draw,
                "distillation_benchmark.comparison",
                "distillation_gains_figure",
                name="draw_trials",
            ),
        ],
        tags="distillation_benchmark",
    )
