"""To which precision, and how the network learns to live with it."""

from model_compression.distillation import DistillationMethod
from model_compression.parameters import Parameters
from model_compression.quantization import QuantizationSettings
from model_compression.training import TrainingSettings


class QuantizationParameters(Parameters):
    """The pruned network in 8-bit integers, trained to them under the teacher."""

    quantization: QuantizationSettings
    distillation: DistillationMethod
    training: TrainingSettings
