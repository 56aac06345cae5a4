"""What is pruned, and how what is left is trained again."""

from model_compression.distillation import DistillationMethod
from model_compression.parameters import Parameters
from model_compression.pruning import PruningMethod
from model_compression.training import TrainingSettings


class PruningParameters(Parameters):
    """The student with less in it, fine-tuned under the teacher."""

    pruning: PruningMethod
    distillation: DistillationMethod
    training: TrainingSettings
