"""What the student is, what it learns from the teacher and how it is trained."""

from model_compression.models import ModelSettings
from model_compression.pipelines.stage.parameters import LearningParameters


class DistillationParameters(LearningParameters):
    """A small network of its own that learns from the teacher's outputs."""

    model: ModelSettings
