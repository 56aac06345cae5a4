"""What every stage that learns from a teacher has in common."""

from model_compression.distillation import Combination, DistillationMethod
from model_compression.parameters import Parameters
from model_compression.training import TrainingSettings


class LearningParameters(Parameters):
    """What is learned, from whom, and how the network is trained."""

    distillation: DistillationMethod
    more_teachers: Combination | None = None
    """How the answers of the checkpoints in the folder ``more_teachers`` are combined with the
    teacher's; ``null``: they are not asked."""
    training: TrainingSettings
