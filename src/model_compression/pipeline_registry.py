"""The pipelines by the names that `kedro run --pipeline` takes."""

from kedro.pipeline import Pipeline

from model_compression.pipelines import (
    data_preparation,
    distillation,
    pruning,
    quantization,
    reporting,
    teacher,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Every step by its own name, and ``compress``, the default, which runs them all."""
    steps = {
        "data_preparation": data_preparation.create_pipeline(),
        "teacher": teacher.create_pipeline(),
        "distillation": distillation.create_pipeline(),
        "pruning": pruning.create_pipeline(),
        "quantization": quantization.create_pipeline(),
        "reporting": reporting.create_pipeline(),
    }
    compress = sum(steps.values(), start=Pipeline([]))
    return {**steps, "compress": compress, "__default__": compress}
