"""To which precision, and how the network learns to live with it."""

from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.quantization import QuantizationMethod


class QuantizationParameters(LearningParameters):
    """The pruned network in few bits; trained to them under the teacher where it is trained."""

    quantization: QuantizationMethod
