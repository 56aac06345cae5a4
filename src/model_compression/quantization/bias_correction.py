"""Bias correction: takes the mean error that rounding makes out of each layer's output.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
section 4.2, with the means measured on images instead of derived from batch norms. Knows prepared
graphs; how their ranges and weights came about is others' business.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule

from model_compression.quantization.layers import (
    Layer,
    LayerInterpreter,
    LayerKey,
    evaluating,
    layers_of,
    matched_layers,
    walk,
)


def correct_biases(
    prepared: GraphModule, reference: GraphModule, batches: Sequence[Tensor]
) -> None:
    """Adds ``E[y] - E[y_q]``, channel by channel, to the bias of each layer, in place.

    y is the output of the float layer in the float network and y_q that of the quantized layer in
    the quantized network, where the layers before it are corrected already; the means are over
    images and positions. The weights stay as they are.

    Args:
        prepared: The graph with fake quantizers whose ranges are set. A layer without a bias stays
            as it is, and so do layers that share a weight or a bias, because what helps one harms
            the other.
        reference: The captured float graph that it was made from; it is left as it is.
        batches: Normalised images, each (N, C, H, W).

    Raises:
        ValueError: If there is no batch, or ``reference`` is a graph of other layers.
    """
    matched_layers(prepared, reference)
    layers = layers_of(prepared)
    with evaluating(prepared, reference):
        expected = _mean_outputs(reference, batches)
        for key, runs in walk(prepared, batches):
            layer = layers[key]
            if layer.is_shared or layer.bias is None:
                continue
            mean = _Mean()
            for run in runs:
                output = run.run_node(layer.node)
                assert isinstance(output, Tensor)
                mean.add(output, layer)
            layer.bias.add_((expected[key].value - mean.value).to(layer.bias))


class _Mean:
    """The mean of a layer's output channels over any number of batches, float64."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.count = 0

    def add(self, output: Tensor, layer: Layer) -> None:
        channels = layer.channel_axis % output.ndim
        others = [axis for axis in range(output.ndim) if axis != channels]
        self.total = self.total + output.sum(others, dtype=torch.float64)
        self.count += output.numel() // output.shape[channels]

    @property
    def value(self) -> Tensor:
        return torch.as_tensor(self.total) / self.count


def _mean_outputs(graph_module: GraphModule, batches: Sequence[Tensor]) -> dict[LayerKey, _Mean]:
    layers = layers_of(graph_module)
    means = {key: _Mean() for key in layers}

    def observe(key: LayerKey, _: Tensor, output: Tensor) -> None:
        means[key].add(output, layers[key])

    interpreter = LayerInterpreter(graph_module, observe)
    for images in batches:
        interpreter.run(images)
    return means
