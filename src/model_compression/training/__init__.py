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
from model_compression.training.processes import (
    ALONE,
    ProcessesDisagreeError,
    ProcessLostError,
    Team,
    current_team,
    join,
    launched,
    share_with,
)
from model_compression.training.settings import TrainingSettings
from model_compression.training.state import (
    History,
    TrainingState,
    read_training_state,
    write_training_state,
)

__all__ = [
    "ALONE",
    "CrossEntropy",
    "History",
    "LossOutput",
    "Objective",
    "Precision",
    "ProcessLostError",
    "ProcessesDisagreeError",
    "Team",
    "Trainee",
    "TrainingDivergedError",
    "TrainingSettings",
    "TrainingState",
    "autocast",
    "current_team",
    "fit",
    "join",
    "launched",
    "place",
    "read_training_state",
    "resolve_device",
    "resolve_precision",
    "share_with",
    "without_training",
    "write_training_state",
]
