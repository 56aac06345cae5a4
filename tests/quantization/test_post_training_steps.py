"""Equalisation, corrected biases and learned rounding, each on its own."""

import copy

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from model_compression.quantization.adaround import AdaRoundSettings, adaptive_rounding
from model_compression.quantization.bias_correction import correct_biases
from model_compression.quantization.capture import capture
from model_compression.quantization.equalisation import equalise
from model_compression.quantization.qat import QatModel, calibrate, prepare
from model_compression.quantization.ranges import MinMax
from model_compression.quantization.settings import StaticSettings

SHAPE = (1, 8, 8)
IMAGES = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.second = nn.Conv2d(6, 4, 3)
        self.activation = activation()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.depthwise(self.activation(self.first(x))))
        x = self.pool(self.activation(self.second(x)))
        return self.classifier(x.flatten(1))


def captured(activation: type[nn.Module] = nn.ReLU) -> GraphModule:
    torch.manual_seed(0)
    module = Small(activation).eval()
    with torch.no_grad():
        module.first.weight.mul_(torch.logspace(-2, 2, 6).view(-1, 1, 1, 1))
        module.depthwise.weight.div_(torch.logspace(-2, 2, 6).view(-1, 1, 1, 1))
    return capture(module, SHAPE)


def quantized(reference: GraphModule, bits: int, **settings: object) -> QatModel:
    model = prepare(
        copy.deepcopy(reference), StaticSettings(method="static", weight_bits=bits, **settings)
    )
    calibrate(model, [IMAGES], MinMax())
    return model.eval()


def error(model: nn.Module, reference: nn.Module) -> float:
    with torch.no_grad():
        return (model(IMAGES) - reference(IMAGES)).square().mean().item()


def channel_ranges(graph_module: GraphModule, layer: str) -> torch.Tensor:
    return graph_module.get_parameter(f"{layer}.weight").abs().flatten(1).amax(1)


def test_equalisation_computes_the_same_with_equal_ranges():
    before, after = captured(), captured()
    pairs = equalise(after)
    assert ("first.weight", "depthwise.weight") in pairs
    with torch.no_grad():
        torch.testing.assert_close(after(IMAGES), before(IMAGES), rtol=1e-4, atol=1e-5)
    ratio = channel_ranges(after, "first") / channel_ranges(after, "depthwise")
    torch.testing.assert_close(ratio, torch.ones(6), rtol=1e-2, atol=0)


def test_equalisation_lowers_the_error_where_a_tensor_shares_a_step():
    plain, equal = captured(), captured()
    equalise(equal)
    assert error(quantized(equal, 8, sharing="tensor"), plain) < 0.2 * error(
        quantized(plain, 8, sharing="tensor"), plain
    )


def test_a_clipped_activation_is_not_equalised_over():
    assert not any("first" in first for first, _ in equalise(captured(nn.ReLU6)))


def test_corrected_biases_bring_each_channels_mean_back():
    reference = captured()
    model = quantized(reference, 3)
    before = model(IMAGES).mean(0) - reference(IMAGES).mean(0)
    correct_biases(model.prepared, reference, [IMAGES[:32], IMAGES[32:]])
    after = model(IMAGES).mean(0) - reference(IMAGES).mean(0)
    assert before.abs().max() > 1e-3
    assert after.abs().max() < 0.05 * before.abs().max()


@pytest.fixture
def rounded():
    """A network after learned rounding, and the same rounded to the nearest."""
    reference = captured()
    nearest, learned = quantized(reference, 3), quantized(reference, 3)
    with torch.no_grad():
        for model in (nearest, learned):
            model.prepared.get_parameter("second.weight")[0, 0] = 0.0
    state = torch.random.get_rng_state()
    adaptive_rounding(learned.prepared, reference, [IMAGES], AdaRoundSettings(steps=200), seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    return reference, nearest, learned


def test_learned_rounding_is_nearer_to_the_network_than_the_nearest(rounded):
    reference, nearest, learned = rounded
    assert error(learned, reference) < error(nearest, reference)


def test_learned_rounding_ends_on_the_grid_next_to_the_weight(rounded):
    _, nearest, learned = rounded
    for path, quantizer in learned.weight_quantizers().items():
        weight = learned.prepared.get_parameter(f"{path}.weight")
        steps = weight / quantizer.scale.view(-1, *(1,) * (weight.ndim - 1))
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
        before = nearest.prepared.get_parameter(f"{path}.weight")
        scale = quantizer.scale.view(-1, *(1,) * (weight.ndim - 1))
        inside = (before / scale).abs() <= 3
        assert ((weight - before).abs() < scale * 1.001)[inside].all()
        assert not weight[before == 0].any()


def test_learned_rounding_is_a_function_of_its_seed(rounded):
    reference, _, learned = rounded
    again = quantized(reference, 3)
    with torch.no_grad():
        again.prepared.get_parameter("second.weight")[0, 0] = 0.0
    adaptive_rounding(again.prepared, reference, [IMAGES], AdaRoundSettings(steps=200), seed=0)
    for name, value in again.prepared.named_parameters():
        assert torch.equal(value, learned.prepared.get_parameter(name)), name
