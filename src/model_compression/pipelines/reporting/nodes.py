"""The stages, compared: latency, table, recommended file, figures, report, model card."""

import math
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from model_compression import reporting
from model_compression.deployment import (
    OnnxModel,
    OnnxRuntimeClassifier,
    compare_logits,
    measure_latency,
)
from model_compression.deployment.latency import Runtime, measure_runtimes
from model_compression.deployment.openvino_runtime import OpenVinoClassifier
from model_compression.evaluation import mcnemar_test, paired_interval
from model_compression.images import DataParameters, ImageSet
from model_compression.pipelines.reporting.parameters import ReportingParameters
from model_compression.reporting.bearing import bearing_sections
from model_compression.reporting.recommendation import Recommendation, recommend
from model_compression.reporting.runtimes import (
    REFERENCE_RUNTIME,
    RUNTIME_COLUMNS,
    runtime_table,
    runtimes_section,
)

BATCH_SIZES = (1, 64)

RUNTIMES: dict[str, Runtime] = {
    REFERENCE_RUNTIME: OnnxRuntimeClassifier,
    "openvino": OpenVinoClassifier,
}


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


def time_other_runtimes(
    models: dict[str, OnnxModel], test_images: ImageSet, parameters: ReportingParameters
) -> pd.DataFrame:
    """Every stage's file in the runtimes that were asked for, if not in ONNX Runtime alone."""
    if parameters.runtimes == (REFERENCE_RUNTIME,):
        return pd.DataFrame(columns=list(RUNTIME_COLUMNS))
    runtimes: dict[str, Runtime] = {name: RUNTIMES[name] for name in parameters.runtimes}
    latency = measure_runtimes(
        models,
        test_images.images[: max(BATCH_SIZES)],
        runtimes,
        batch_sizes=BATCH_SIZES,
        repeats=parameters.repeats,
        threads=parameters.threads,
    )
    agreement: dict[tuple[str, str], float] = {}
    for stage, model in models.items():
        logits = {
            # Only the timed turns are held to a number of threads; answers take all cores.
            name: load(model, 0).logits(test_images.images)
            for name, load in runtimes.items()
        }
        for name in runtimes:
            parity = compare_logits(logits[name], logits[REFERENCE_RUNTIME])
            agreement[stage, name] = parity.top1_agreement
    return runtime_table(latency, agreement)


def compare_with_teacher(
    evaluations: dict[str, dict[str, Any]],
    predictions: dict[str, pd.DataFrame],
    models: dict[str, OnnxModel],
) -> dict[str, dict[str, Any]]:
    """Adds to each evaluation how it differs from the first stage's, the teacher's.

    The images that only one of the two gets right, the 95 % interval of the difference (the stage's
    accuracy minus the teacher's), and McNemar's exact test.

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
        low, high = paired_interval(result.only_a, result.only_b, len(correct[stage]))
        judged[stage] = evaluations[stage] | {
            "paired": {
                "only_teacher": result.only_a,
                "only_stage": result.only_b,
                "difference_low": low,
                "difference_high": high,
                "p_value": result.p_value,
            }
        }
    return judged


def recommend_file(evaluations: dict[str, dict[str, Any]], latency: pd.DataFrame) -> dict[str, Any]:
    """Which stage's file to ship, and why."""
    return recommend(evaluations, latency).as_json()


def draw(
    comparison: pd.DataFrame,
    latency: pd.DataFrame,
    histories: dict[str, list[dict[str, float]]],
    evaluations: dict[str, dict[str, Any]],
    confusions: dict[str, pd.DataFrame],
) -> tuple[Figure, Figure, Figure, Figure, Figure]:
    """Accuracy against size and against latency, latency, training curves, recall by class."""
    kept = {stage: each.get("best_epoch", math.nan) for stage, each in evaluations.items()}
    return (
        reporting.accuracy_against_size(comparison),
        reporting.accuracy_against_latency(comparison, latency),
        reporting.latency_distribution(latency, list(evaluations)),
        reporting.training_curves(histories, kept=kept),
        reporting.recall_by_class(confusions),
    )


def write_report(
    evaluations: dict[str, dict[str, Any]],
    histories: dict[str, list[dict[str, float]]],
    latency: pd.DataFrame,
    confusions: dict[str, pd.DataFrame],
    runtimes: pd.DataFrame,
    generalisation: reporting.Section,
    recommendation: dict[str, Any],
    pruning_sensitivity: pd.DataFrame | None,
    quantization_sensitivity: pd.DataFrame | None,
    data: DataParameters,
    parameters: ReportingParameters,
) -> str:
    """The HTML report."""
    return reporting.render_report(
        evaluations,
        histories,
        latency,
        confusions,
        Recommendation.from_json(recommendation),
        _provenance(evaluations, data, parameters),
        title=parameters.title,
        more_sections=[
            generalisation,
            *bearing_sections(evaluations, pruning_sensitivity, quantization_sensitivity),
            *([] if runtimes.empty else [runtimes_section(runtimes)]),
        ],
    )


def write_model_card(
    evaluations: dict[str, dict[str, Any]],
    latency: pd.DataFrame,
    models: dict[str, OnnxModel],
    recommendation: dict[str, Any],
    data: DataParameters,
    parameters: ReportingParameters,
) -> str:
    """The card of the recommended file."""
    chosen = Recommendation.from_json(recommendation)
    shipped = models[chosen.stage]
    return reporting.render_model_card(
        evaluations,
        latency,
        chosen,
        classes=shipped.classes,
        input_shape=shipped.input_shape,
        provenance=_provenance(evaluations, data, parameters),
        licence=parameters.licence,
        dataset_id=parameters.dataset_id,
    )


def _provenance(
    evaluations: dict[str, dict[str, Any]], data: DataParameters, parameters: ReportingParameters
) -> dict[str, Any]:
    threads = {0: "as many threads as the runtime likes", 1: "1 thread"}.get(
        parameters.threads, f"{parameters.threads} threads"
    )
    return reporting.gather_provenance(
        evaluations,
        parameters.data_name or data.name,
        latency=f"{parameters.repeats} interleaved turns of each file, {threads}",
    )
