"""The one training loop and what it is made of."""

from model_compression.training.hardware import (
    Precision,
    autocast,
    place,
    resolve_device,
    resolve_precision,
)
from model_compression.training.loop import (
    Trainee,
    TrainingDivergedError,
    fit,
    without_training,
)
from model_compression.training.objective import CrossEntropy, LossOutput, Objective
from model_compression.training.settings import TrainingSettings
from model_compression.training.state import (
    History,
    TrainingState,
    read_training_state,
    write_training_state,
)

__all__ = [
    "CrossEntropy",
    "History",
    "LossOutput",
    "Objective",
    "Precision",
    "Trainee",
    "TrainingDivergedError",
    "TrainingSettings",
    "TrainingState",
    "autocast",
    "fit",
    "place",
    "read_training_state",
    "resolve_device",
    "resolve_precision",
    "without_training",
    "write_training_state",
]
