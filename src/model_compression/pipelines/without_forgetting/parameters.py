"""Which classes are new, who knows the old ones, and how the new ones are learned."""

from typing import Annotated

from pydantic import Field, PositiveInt

from model_compression.distillation import DistillationMethod
from model_compression.models import ModelSettings
from model_compression.parameters import Parameters
from model_compression.training import TrainingSettings


class OldParameters(Parameters):
    """The network that knows the old classes, and how it learned them."""

    model: ModelSettings
    training: TrainingSettings


class FineTuningParameters(Parameters):
    """How it learns the new classes from their images alone."""

    distillation: DistillationMethod
    """What holds it to the old classes; the control, ``forgotten``, has none of it."""
    training: TrainingSettings


class WithoutForgettingParameters(Parameters):
    """New classes for a network that is trained already."""

    new_classes: PositiveInt | Annotated[tuple[str | int, ...], Field(min_length=1)] = 2
    """How many, counted from the last one; or which, by their names or numbers."""
    old: OldParameters
    fine_tuning: FineTuningParameters
