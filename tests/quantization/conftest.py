import copy

import pytest
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.quantization.layers import layers_of


class StepQuantizer(nn.Module):
    """A step for each output channel, chosen once: what a prepared graph rounds weights with."""

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.quant_max = 2 ** (bits - 1) - 1
        self.quant_min = -self.quant_max
        largest = weight.detach().abs().flatten(1).amax(1)
        self.register_buffer("scale", 0.8 * largest.clamp_min(1e-6) / self.quant_max)

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale.view(-1, *(1,) * (weight.ndim - 1))
        return (weight / scale).round().clamp(self.quant_min, self.quant_max) * scale


class Coarse(nn.Module):
    """Rounds activations to eighths."""

    def forward(self, x: Tensor) -> Tensor:
        return (8 * x).round() / 8


def _prepared_from(reference: GraphModule, bits: int) -> GraphModule:
    """A copy whose layers read rounded inputs and rounded weights."""
    prepared = copy.deepcopy(reference)
    for number, layer in enumerate(layers_of(prepared).values()):
        source, weight = layer.node.args[:2]
        prepared.add_submodule(f"rounded_{number}", StepQuantizer(layer.weight, bits))
        prepared.add_submodule(f"coarse_{number}", Coarse())
        with prepared.graph.inserting_after(weight):
            rounded = prepared.graph.call_module(f"rounded_{number}", (weight,))
        with prepared.graph.inserting_before(layer.node):
            coarse = prepared.graph.call_module(f"coarse_{number}", (source,))
        layer.node.args = (coarse, rounded, *layer.node.args[2:])
    prepared.recompile()
    return prepared


@pytest.fixture
def prepared_from():
    """Prepares a copy of a captured graph, plainly: rounded inputs and weights, fixed steps."""
    return _prepared_from
