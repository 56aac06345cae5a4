"""Images, ``teacher`` and the flow's parameters → trials → comparison, effects, figure."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.ablation.nodes import (
    compare_trials,
    draw,
    run_trials,
    time_trials,
)

PARAMETERS = "params:ablation"


def create_pipeline() -> Pipeline:
    """Every subset of {distillation, pruning, quantization} under the same budget."""
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
                    "more_teachers",
                    "teacher_answers",
                    PARAMETERS,
                    "params:distillation",
                    "params:pruning",
                    "params:quantization",
                    "ablation.known_states",
                    "ablation.known_onnx",
                    "ablation.known_trials",
                    "student.resume_state",
                    "pruned.resume_state",
                    "quantized.resume_state",
                ],
                ["ablation.training_states", "ablation.onnx", "ablation.trials"],
                name="run_ablation",
            ),
            Node(
                time_trials,
                ["ablation.onnx", "test_images", PARAMETERS, "params:reporting"],
                "ablation.latency",
                name="time_ablation",
            ),
            Node(
                compare_trials,
                ["ablation.trials", "ablation.onnx", "ablation.latency", PARAMETERS],
                ["ablation.comparison", "ablation.effects"],
                name="compare_ablation",
            ),
            Node(draw, "ablation.comparison", "ablation_figure", name="draw_ablation"),
        ],
        tags="ablation",
    )
