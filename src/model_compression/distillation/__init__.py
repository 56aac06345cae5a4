"""What a student can learn from a teacher: one method a file, and the objectives made of them."""

from model_compression.distillation.kd import KdSettings, kd_loss
from model_compression.distillation.objective import (
    AnswerMemory,
    DistillationMethod,
    FrozenTeacher,
    LabelsOnly,
    SoftTargets,
    distillation_objective,
)

__all__ = [
    "AnswerMemory",
    "DistillationMethod",
    "FrozenTeacher",
    "KdSettings",
    "LabelsOnly",
    "SoftTargets",
    "distillation_objective",
    "kd_loss",
]
