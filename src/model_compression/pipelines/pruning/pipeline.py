"""The pruned stage."""

from kedro.pipeline import Pipeline

from model_compression.pipelines.pruning.nodes import train_pruned
from model_compression.pipelines.stage.pipeline import TEACHING, create_stage


def create_pipeline() -> Pipeline:
    """Images, ``teacher`` and ``student`` → ``pruned``."""
    return create_stage(
        "pruned", train_pruned, "params:pruning", ["teacher", "student"], reads=TEACHING
    )
