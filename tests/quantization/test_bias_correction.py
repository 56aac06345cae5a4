import copy

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.quantization.bias_correction import correct_biases
from model_compression.quantization.capture import capture
from model_compression.quantization.layers import LayerInterpreter, layers_of

SHAPE = (1, 6, 6)


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


def prepared_from(reference: GraphModule, bits: int) -> GraphModule:
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


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, groups=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture
def reference() -> GraphModule:
    torch.manual_seed(0)
    return capture(Tiny(), SHAPE)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *SHAPE, generator=generator) + 0.5 for count in (8, 5)]


def channel_means(graph: GraphModule) -> list[Tensor]:
    """Of each layer's output over all images together."""
    means: list[Tensor] = []

    def observe(_: object, __: Tensor, y: Tensor) -> None:
        means.append(y.transpose(0, 1).flatten(1).mean(1))

    with torch.no_grad():
        LayerInterpreter(graph, observe).run(torch.cat(batches()))
    return means


def test_afterwards_every_channels_mean_is_the_float_networks(reference):
    prepared = prepared_from(reference, 3)
    before = channel_means(prepared)
    correct_biases(prepared, reference, batches())
    for wrong, right, expected in zip(
        before, channel_means(prepared), channel_means(reference), strict=True
    ):
        assert (wrong - expected).abs().max() > 1e-3
        torch.testing.assert_close(right, expected, rtol=1e-4, atol=1e-5)


def test_only_biases_change(reference):
    prepared = prepared_from(reference, 3)
    before = {name: value.clone() for name, value in prepared.named_parameters()}
    untouched = copy.deepcopy(reference.state_dict())
    correct_biases(prepared, reference, batches())
    for name, value in prepared.named_parameters():
        assert torch.equal(value, before[name]) == name.endswith("weight"), name
    assert all(
        torch.equal(value, untouched[name]) for name, value in reference.state_dict().items()
    )


def test_a_layer_without_a_bias_stays_and_the_next_one_makes_up_for_it():
    module = Tiny()
    module.second.bias = None
    reference = capture(module, SHAPE)
    prepared = prepared_from(reference, 3)
    names = [name for name, _ in prepared.named_parameters()]
    correct_biases(prepared, reference, batches())
    assert [name for name, _ in prepared.named_parameters()] == names
    torch.testing.assert_close(channel_means(prepared)[-1], channel_means(reference)[-1])


def test_a_bias_that_layers_share_stays():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x).relu()).flatten(1)

    reference = capture(Shared(), SHAPE)
    prepared = prepared_from(reference, 3)
    correct_biases(prepared, reference, batches())
    assert torch.equal(prepared.get_parameter("conv.bias"), reference.get_parameter("conv.bias"))


def test_no_images_and_another_reference_are_refused(reference):
    prepared = prepared_from(reference, 3)
    with pytest.raises(ValueError, match="at least one batch"):
        correct_biases(prepared, reference, [])
    other = capture(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), SHAPE)
    with pytest.raises(ValueError, match="captured float graph"):
        correct_biases(prepared, other, batches())
    assert len(layers_of(prepared)) == 3
