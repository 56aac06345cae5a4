"""What is pruned, and how what is left is trained again."""

from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.pruning import PruningMethod


class PruningParameters(LearningParameters):
    """The student with less in it, fine-tuned under the teacher."""

    pruning: PruningMethod
