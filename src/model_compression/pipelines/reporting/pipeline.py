"""All stages → latency, comparison, recommended file, figures, report, model card."""

from kedro.pipeline import Node, Pipeline

from model_compression import reporting
from model_compression.pipelines.generalisation.pipeline import comparison_nodes
from model_compression.pipelines.reporting.nodes import (
    compare_with_teacher,
    draw,
    gather,
    recommend_file,
    time_other_runtimes,
    time_stages,
    write_model_card,
    write_report,
)

STAGES = ("teacher", "student", "pruned", "quantized")

GATHERED = {
    "onnx": "onnx_by_stage",
    "evaluation": "evaluations",
    "predictions": "predictions_by_stage",
    "history": "histories",
    "confusion_matrix": "confusions",
    "corruptions": "corruptions_by_stage",
    "generalisation": "generalisations",
    "reliability": "reliabilities",
}
"""What every stage has, and what it is called when it is brought together."""


def create_pipeline() -> Pipeline:
    """The stages' results → what people read."""
    return Pipeline(
        [
            *(_gather(dataset) for dataset in GATHERED),
            *comparison_nodes(),
            Node(
                time_stages,
                ["onnx_by_stage", "test_images", "params:reporting"],
                "latency",
                name="time_stages",
            ),
            Node(
                time_other_runtimes,
                ["onnx_by_stage", "test_images", "params:reporting"],
                "runtimes",
                name="time_other_runtimes",
            ),
            Node(
                compare_with_teacher,
                ["evaluations", "predictions_by_stage", "onnx_by_stage"],
                "judged_evaluations",
                name="compare_with_teacher",
            ),
            Node(
                reporting.comparison_table,
                ["judged_evaluations", "latency"],
                "comparison",
                name="compare",
            ),
            Node(
                recommend_file,
                ["judged_evaluations", "latency"],
                "recommendation",
                name="recommend_file",
            ),
            Node(
                draw,
                ["comparison", "latency", "histories", "judged_evaluations", "confusions"],
                [
                    "accuracy_against_size_figure",
                    "accuracy_against_latency_figure",
                    "latency_figure",
                    "training_curves_figure",
                    "recall_by_class_figure",
                ],
                name="draw",
            ),
            Node(
                write_report,
                [
                    "judged_evaluations",
                    "histories",
                    "latency",
                    "confusions",
                    "runtimes",
                    "generalisation_chapter",
                    "recommendation",
                    "pruning_sensitivity.known_table",
                    "quantization_sensitivity.known_table",
                    "params:data",
                    "params:reporting",
                ],
                "report",
                name="write_report",
            ),
            Node(
                write_model_card,
                [
                    "judged_evaluations",
                    "latency",
                    "onnx_by_stage",
                    "recommendation",
                    "params:data",
                    "params:reporting",
                ],
                "model_card",
                name="write_model_card",
            ),
        ],
        tags="reporting",
    )


def _gather(dataset: str) -> Node:
    inputs = {stage: f"{stage}.{dataset}" for stage in STAGES}
    return Node(gather, inputs, GATHERED[dataset], name=f"gather_{GATHERED[dataset]}")
