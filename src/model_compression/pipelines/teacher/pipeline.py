"""The teacher stage."""

from kedro.pipeline import Pipeline

from model_compression.pipelines.stage.pipeline import create_stage
from model_compression.pipelines.teacher.nodes import train_teacher


def create_pipeline() -> Pipeline:
    """Images → ``teacher``."""
    return create_stage("teacher", train_teacher, "params:teacher")
