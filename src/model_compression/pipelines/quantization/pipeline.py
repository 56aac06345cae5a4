"""The quantized stage."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.quantization.nodes import keep_accuracy, train_quantized
from model_compression.pipelines.stage.pipeline import TEACHING, create_stage


def create_pipeline() -> Pipeline:
    """Images, ``teacher`` and ``pruned`` → ``quantized``."""
    return create_stage(
        "quantized",
        train_quantized,
        "params:quantization",
        ["teacher", "pruned"],
        reads=TEACHING,
        choose=Node(
            keep_accuracy,
            [
                "train_images",
                "validation_images",
                "pruned.checkpoint",
                "training_state",
                "params:quantization",
            ],
            ["checkpoint", "precision"],
            name="keep_accuracy",
            tags="choosing",
        ),
    )
