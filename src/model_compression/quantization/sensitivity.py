"""How few bits each layer bears: the network is judged with one layer at a time on a grid.

Knows layers, grids and a score; which images it is of is its caller's business. Weights alone are
rounded, after training, so a measurement takes one pass over the images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from model_compression.evaluation import Score
from model_compression.quantization.capture import capture
from model_compression.quantization.qat import QatModel, enable_rounding, prepare
from model_compression.quantization.ranges import RangeMethod, weight_scales
from model_compression.quantization.settings import WeightOnlySettings
from model_compression.quantization.weight_quantizers import FixedStepQuantizer


class BitSensitivity(NamedTuple):
    """The network with one layer's weights in so many bits, not trained since."""

    layer: str
    bits: int
    weights: int
    """How many the layer has."""
    accuracy: float
    loss: float
    """Mean cross-entropy, in nats."""
    accuracy_drop: float
    """The float network's accuracy minus this one's."""
    loss_increase: float
    """This network's loss minus the float one's, in nats."""


class BitBench:
    """A network whose layers can be put on grids of any number of bits, one by one or together.

    Args:
        module: The float network; it is left as it is.
        input_shape: (C, H, W) of one image.
        method: What of the weights the steps cover.
    """

    def __init__(
        self, module: nn.Module, input_shape: Sequence[int], method: RangeMethod | None = None
    ) -> None:
        settings = WeightOnlySettings(method="weight_only")
        self._method = method or settings.weight_range
        self._model = prepare(capture(module, input_shape), settings).eval()
        self._quantizers = self._model.weight_quantizers()

    @property
    def weights(self) -> dict[str, int]:
        """By the path of each layer, how many weights it has, in the order in which they run."""
        return {layer: self._weight(layer).numel() for layer in self._quantizers}

    def with_bits(self, bits: Mapping[str, int]) -> QatModel:
        """The network with some layers on grids, all others in floats; the next call changes it."""
        enable_rounding(self._model, False)
        for layer, count in bits.items():
            quantizer = self._quantizers[layer]
            assert isinstance(quantizer, FixedStepQuantizer)
            quantizer.bits = count
            with torch.no_grad():
                quantizer.set_steps(weight_scales(self._weight(layer), count, self._method, 0))
            quantizer.enable_fake_quant(True)
        return self._model

    def _weight(self, layer: str) -> nn.Parameter:
        return self._model.prepared.get_parameter(f"{layer}.weight" if layer else "weight")


def measure_bits(
    bench: BitBench, bits: Sequence[int], score: Callable[[nn.Module], Score]
) -> Iterator[BitSensitivity]:
    """Every layer at every number of bits, one layer at a time.

    Args:
        bench: The network.
        bits: Numbers of bits, the same for every layer.
        score: Judges a network.

    Yields:
        Layer by layer, in the order of the bits.
    """
    whole = score(bench.with_bits({}))
    for layer, weights in bench.weights.items():
        for count in bits:
            found = score(bench.with_bits({layer: count}))
            yield BitSensitivity(
                layer,
                count,
                weights,
                found.accuracy,
                found.loss,
                whole.accuracy - found.accuracy,
                found.loss - whole.loss,
            )
