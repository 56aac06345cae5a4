"""Quantizes a trained network without training it: ranges, rounding and biases from a few images.

Knows the order of the steps (Nagel et al., A White Paper on Neural Network Quantization, 2021,
figure 6); each step is a module of its own.
"""

import copy
import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_compression.quantization.adaround import adaptive_rounding
from model_compression.quantization.bias_correction import correct_biases
from model_compression.quantization.capture import capture
from model_compression.quantization.equalisation import equalise
from model_compression.quantization.qat import QatModel, calibrate, prepare
from model_compression.quantization.ranges import weight_scales
from model_compression.quantization.settings import PostTrainingSettings, StaticSettings
from model_compression.quantization.weight_quantizers import FixedStepQuantizer

logger = logging.getLogger(__name__)


def quantize_after_training(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: PostTrainingSettings,
    batches: Sequence[Tensor],
    seed: int = 0,
) -> QatModel:
    """``module`` on its grid, in evaluation mode; ``module`` is left as it is.

    Cross-layer equalisation, steps of the weights, ranges of the activations, learned rounding and
    the correction of the biases follow each other as the settings want them.

    Args:
        module: The float network.
        input_shape: (C, H, W) of one image.
        settings: What is done.
        batches: Normalised images, each (N, C, H, W), that everything is measured on.
        seed: Of the positions that learned rounding looks at.

    Raises:
        ValueError: If the network cannot be captured as one graph, if the settings name a layer
            that it does not have, or if there is no batch.
    """
    if not batches:
        raise ValueError(
            "Quantization after training looks at images; there are none: raise images."
        )
    reference = capture(module, input_shape)
    if settings.equalise:
        pairs = equalise(reference)
        if pairs:
            logger.info("equalised: %s", ", ".join(f"{one} and {two}" for one, two in pairs))
        else:
            logger.warning(
                "equalise is true, but no two layers follow each other with nothing between them "
                "that a factor can't pass: nothing was equalised"
            )
    model = prepare(copy.deepcopy(reference), settings)
    set_weight_steps(model, settings)
    if isinstance(settings, StaticSettings):
        calibrate(model, batches, settings.activation_range)
    model.eval()
    if settings.rounding is not None:
        adaptive_rounding(model.prepared, reference, batches, settings.rounding, seed)
    if settings.correct_biases:
        correct_biases(model.prepared, reference, batches)
    return model


def set_weight_steps(model: QatModel, settings: PostTrainingSettings) -> None:
    """Gives each layer the steps that the settings' range of its weights asks for."""
    for path, quantizer in model.weight_quantizers().items():
        if isinstance(quantizer, FixedStepQuantizer):
            axis = 0 if quantizer.sharing == "channel" else None
            weight = model.prepared.get_parameter(f"{path}.weight" if path else "weight")
            with torch.no_grad():
                steps = weight_scales(weight, quantizer.bits, settings.weight_range, axis)
            quantizer.set_steps(steps)
