"""What the teacher is and how it is trained."""

from typing import Annotated

from pydantic import Field

from model_compression.models import ModelSettings
from model_compression.parameters import Parameters
from model_compression.training import TrainingSettings


class TeacherParameters(Parameters):
    """The large network that all the others are measured against."""

    model: ModelSettings
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    training: TrainingSettings
