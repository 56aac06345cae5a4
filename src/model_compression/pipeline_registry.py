"""The pipelines by the names that `kedro run --pipeline` takes."""

from kedro.pipeline import Pipeline

from model_compression.pipelines import (
    ablation,
    compare_runs,
    data_preparation,
    distillation,
    distillation_benchmark,
    generalisation,
    pruning,
    pruning_sensitivity,
    quantization,
    quantization_sensitivity,
    reporting,
    teacher,
    without_forgetting,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Every step by its own name, ``compress``, the default, which runs them all, and studies."""
    steps = {
        "data_preparation": data_preparation.create_pipeline(),
        "teacher": teacher.create_pipeline(),
        "distillation": distillation.create_pipeline(),
        "pruning": pruning.create_pipeline(),
        "quantization": quantization.create_pipeline(),
        "generalisation": generalisation.create_pipeline(),
        "reporting": reporting.create_pipeline(),
    }
    compress = sum(steps.values(), start=Pipeline([]))
    return {
        **steps,
        "ablation": ablation.create_pipeline(),
        "compare_runs": compare_runs.create_pipeline(),
        "distillation_benchmark": distillation_benchmark.create_pipeline(),
        "pruning_sensitivity": pruning_sensitivity.create_pipeline(),
        "quantization_sensitivity": quantization_sensitivity.create_pipeline(),
        "without_forgetting": without_forgetting.create_pipeline(),
        "compress": compress,
        "__default__": compress,
    }
