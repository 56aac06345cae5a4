"""Activations that are rounded by the range of their own batch."""

import copy

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from model_compression.models import ModelSettings, build_model
from model_compression.own_range import ROUND_BY_OWN_RANGE
from model_compression.quantization import (
    DynamicSettings,
    QatModel,
    convert,
    quantize_after_training,
    restore,
)
from model_compression.quantization.capture import CONVOLUTIONS, LINEAR, capture
from model_compression.quantization.dynamic import OwnRangeFakeQuantize
from model_compression.quantization.formula import affine_grid, fake_quantize
from model_compression.quantization.guard import in_floats
from model_compression.quantization.qat import enable_rounding

SHAPE = (1, 12, 12)
IMAGES = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="net").spec(SHAPE, 4)).eval()


def quantized(module: nn.Module | None = None, **settings: object) -> QatModel:
    return quantize_after_training(
        module or network(),
        SHAPE,
        DynamicSettings.model_validate({"method": "dynamic", **settings}),
        [IMAGES],
    )


def layers(graph_module: GraphModule) -> dict[str, bool]:
    """By layer: whether it reads what was rounded by its own range."""
    return {
        node.name: node.args[0].target is ROUND_BY_OWN_RANGE
        for node in graph_module.graph.nodes
        if node.target in (*CONVOLUTIONS, LINEAR)
    }


def test_linear_layers_read_rounded_inputs_and_convolutions_floats():
    read = layers(convert(quantized()))
    assert read == {
        "conv2d": False,
        "conv2d_1": False,
        "linear": True,
        "linear_1": True,
        "linear_2": True,
    }


def test_all_weights_are_bytes():
    integers = [value for value in convert(quantized()).buffers() if value.dtype == torch.int8]
    assert len(integers) == 5


def test_a_layer_that_stays_float_reads_floats():
    model = quantized(bits={"linear1": 32})
    assert layers(convert(model))["linear"] is False
    assert list(layers(convert(model)).values()).count(True) == 2


def test_a_linear_layer_computes_by_the_formula():
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).eval()
    model = quantized(
        module, weight_bits=4, weight_range={"method": "min_max"}, correct_biases=False
    )
    x = IMAGES.flatten(1)
    weight = model.weight_quantizers()["1"](module[1].weight)
    expected = nn.functional.linear(fake_quantize(x, affine_grid(x)), weight, module[1].bias)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), expected)
        torch.testing.assert_close(convert(model)(IMAGES), expected)


def test_the_converted_network_computes_what_the_prepared_one_does():
    model = quantized(weight_bits=3, rounding={"steps": 5}, equalise=True)
    with torch.no_grad():
        torch.testing.assert_close(convert(model)(IMAGES), model(IMAGES))


def test_an_answer_depends_on_the_batch():
    converted = convert(quantized())
    with torch.no_grad():
        alone = converted(IMAGES[:1])
        beside = converted(torch.cat([IMAGES[:1], 100 * IMAGES[1:]]))[:1]
    assert not torch.allclose(alone, beside, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(alone, network()(IMAGES[:1]), atol=2e-2, rtol=0)


def test_biases_take_up_what_rounding_adds():
    def mean_error(correct: bool) -> float:
        with torch.no_grad():
            difference = quantized(weight_bits=2, correct_biases=correct)(IMAGES) - network()(
                IMAGES
            )
        return difference.mean(0).abs().max().item()

    assert mean_error(True) < 0.05 * mean_error(False)


def test_without_rounding_the_network_is_the_float_one():
    model = quantized(correct_biases=False)
    enable_rounding(model, False)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), capture(network(), SHAPE)(IMAGES))


def test_a_layer_in_floats_reads_floats_for_a_while():
    model = quantized(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).eval(), correct_biases=False)
    (quantizer,) = (
        part for part in model.prepared.modules() if isinstance(part, OwnRangeFakeQuantize)
    )
    with in_floats(model, "1"):
        assert torch.equal(quantizer(IMAGES), IMAGES)
    assert not torch.equal(quantizer(IMAGES), IMAGES)


def test_there_is_no_range_beforehand():
    model = quantized()
    assert not list(model.activation_quantizers())
    quantizer = next(
        part for part in model.prepared.modules() if isinstance(part, OwnRangeFakeQuantize)
    )
    with pytest.raises(TypeError, match="beforehand"):
        quantizer.calculate_qparams()


def test_it_comes_back_from_its_state_bit_for_bit():
    settings = DynamicSettings(method="dynamic", weight_bits=4, end_bits=8)
    model = quantize_after_training(network(), SHAPE, settings, [IMAGES])
    again = restore(network(), SHAPE, copy.deepcopy(model.state_dict()), settings)
    with torch.no_grad():
        assert torch.equal(convert(again)(IMAGES), convert(model)(IMAGES))
