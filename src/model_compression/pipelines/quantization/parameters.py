"""To which precision, and how the network learns to live with it."""

from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.quantization import QuantizationSettings


class QuantizationParameters(LearningParameters):
    """The pruned network in 8-bit integers, trained to them under the teacher."""

    quantization: QuantizationSettings
