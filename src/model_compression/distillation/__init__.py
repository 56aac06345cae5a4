"""What a student can learn from a teacher: one method a file, on one protocol."""

from model_compression.distillation.answers import AnswerShelf
from model_compression.distillation.kd import KdSettings
from model_compression.distillation.labels_only import LabelsOnly
from model_compression.distillation.method import (
    DistillationError,
    Method,
    Need,
    Observed,
    Pair,
    Teacher,
)
from model_compression.distillation.methods import DistillationMethod
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.taps import Taps
from model_compression.distillation.teacher import (
    Combination,
    FrozenTeacher,
    RememberingTeacher,
    TeacherEnsemble,
    combine_logits,
)
from model_compression.distillation.transfer import TransferMethod

__all__ = [
    "AnswerShelf",
    "Combination",
    "DistillationError",
    "DistillationMethod",
    "FrozenTeacher",
    "KdSettings",
    "LabelsOnly",
    "Method",
    "Need",
    "Observed",
    "Pair",
    "RememberingTeacher",
    "Taps",
    "Teacher",
    "TeacherEnsemble",
    "TransferMethod",
    "combine_logits",
    "kd_loss",
]
