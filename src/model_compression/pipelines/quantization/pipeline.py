"""The quantized stage."""

from kedro.pipeline import Pipeline

from model_compression.pipelines.quantization.nodes import train_quantized
from model_compression.pipelines.stage.pipeline import TEACHING, create_stage


def create_pipeline() -> Pipeline:
    """Images, ``teacher`` and ``pruned`` → ``quantized``."""
    return create_stage(
        "quantized",
        train_quantized,
        "params:quantization",
        ["teacher", "pruned"],
        reads=TEACHING,
    )
