"""The stages, compared: latency, table, figures, report, model card."""

from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from model_compression import reporting
from model_compression.deployment import OnnxModel, measure_latency
from model_compression.evaluation import mcnemar_test
from model_compression.images import DataParameters, ImageSet
from model_compression.pipelines.reporting.parameters import ReportingParameters

BATCH_SIZES = (1, 64)


def gather(**by_stage: Any) -> dict[str, Any]:
    """The same thing of every stage, in the stages' order."""
    return by_stage


def time_stages(
    models: dict[str, OnnxModel], test_images: ImageSet, parameters: ReportingParameters
) -> pd.DataFrame:
    """Milliseconds a batch of every stage's file, interleaved over the stages."""
    return measure_latency(
        models,
        test_images.images[: max(BATCH_SIZES)],
        batch_sizes=BATCH_SIZES,
        repeats=parameters.repeats,
        threads=parameters.threads,
    )


def compare_with_teacher(
    evaluations: dict[str, dict[str, Any]],
    predictions: dict[str, pd.DataFrame],
    models: dict[str, OnnxModel],
) -> dict[str, dict[str, Any]]:
    """Adds to each evaluation McNemar's exact test against the first stage, the teacher.

    Raises:
        ValueError: If a file is not the one that was evaluated.
    """
    for stage, model in models.items():
        if model.fingerprint != evaluations[stage]["fingerprint"]:
            raise ValueError(
                f"{stage}: model.onnx is not the file that evaluation.json speaks of (a run was "
                "cut off between them): run the pipeline of that stage again"
            )
    correct = {
        stage: (table["label"] == table["predicted"]).to_numpy()
        for stage, table in predictions.items()
    }
    teacher, *others = evaluations
    judged = {teacher: evaluations[teacher]}
    for stage in others:
        result = mcnemar_test(correct[teacher], correct[stage])
        judged[stage] = evaluations[stage] | {
            "paired": {
                "only_teacher": result.only_a,
                "only_stage": result.only_b,
                "p_value": result.p_value,
            }
        }
    return judged


def draw(
    comparison: pd.DataFrame,
    latency: pd.DataFrame,
    histories: dict[str, list[dict[str, float]]],
    confusions: dict[str, pd.DataFrame],
) -> tuple[Figure, Figure, Figure, Figure]:
    """Accuracy against size, against latency, the training curves, and the recall by class."""
    return (
        reporting.accuracy_against_size(comparison),
        reporting.accuracy_against_latency(comparison, latency),
        reporting.training_curves(histories),
        reporting.recall_by_class(confusions),
    )


def write_report(
    evaluations: dict[str, dict[str, Any]],
    histories: dict[str, list[dict[str, float]]],
    latency: pd.DataFrame,
    confusions: dict[str, pd.DataFrame],
    data: DataParameters,
    parameters: ReportingParameters,
) -> str:
    """The HTML report."""
    return reporting.render_report(
        evaluations,
        histories,
        latency,
        confusions,
        reporting.gather_provenance(evaluations, parameters.data_name or data.name),
        title=parameters.title,
    )


def write_model_card(
    evaluations: dict[str, dict[str, Any]],
    latency: pd.DataFrame,
    models: dict[str, OnnxModel],
    data: DataParameters,
    parameters: ReportingParameters,
) -> str:
    """The card of the last stage's file."""
    *_, shipped = models.values()
    return reporting.render_model_card(
        evaluations,
        latency,
        classes=shipped.classes,
        input_shape=shipped.input_shape,
        provenance=reporting.gather_provenance(evaluations, parameters.data_name or data.name),
        licence=parameters.licence,
    )
