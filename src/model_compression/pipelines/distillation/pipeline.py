"""The student stage."""

from kedro.pipeline import Pipeline

from model_compression.pipelines.distillation.nodes import train_student
from model_compression.pipelines.stage.pipeline import TEACHING, create_stage


def create_pipeline() -> Pipeline:
    """Images and ``teacher`` → ``student``."""
    return create_stage(
        "student", train_student, "params:distillation", ["teacher"], reads=TEACHING
    )
