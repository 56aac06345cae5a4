"""What the student is, what it learns from the teacher and how it is trained."""

from model_compression.distillation import DistillationMethod
from model_compression.models import ModelSettings
from model_compression.parameters import Parameters
from model_compression.training import TrainingSettings


class DistillationParameters(Parameters):
    """A small network of its own that learns from the teacher's outputs."""

    model: ModelSettings
    distillation: DistillationMethod
    training: TrainingSettings
