import pytest
import torch

from model_compression.models import ModelSettings, build_model
from model_compression.quantization import QatSettings, calibrate, prepare_qat
from model_compression.quantization.biases import round_biases
from model_compression.quantization.fake_quantize import ActivationFakeQuantize
from model_compression.quantization.weight_quantizers import LargestWeightQuantizer

SHAPE = (1, 12, 12)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    network = build_model(ModelSettings(name="resnet8").spec(SHAPE, 4))
    model = prepare_qat(network, SHAPE, QatSettings(batch_norms="fold"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    calibrate(model, [torch.randn(8, *SHAPE)])
    model.eval()(torch.randn(1, *SHAPE))
    return model.prepared


def steps_and_biases(graph):
    """(s_x * s_w, bias) of every layer, found by the modules that the layer's inputs pass."""
    for node in graph.graph.nodes:
        if node.op == "call_function" and len(node.args) > 2 and "bias" in str(node.args[2]):
            activation, weight = (graph.get_submodule(str(arg.target)) for arg in node.args[:2])
            assert isinstance(activation, ActivationFakeQuantize)
            assert isinstance(weight, LargestWeightQuantizer)
            scale, _ = activation.calculate_qparams()
            yield scale * weight.scale, graph.get_parameter(str(node.args[2].target))


def test_every_bias_becomes_a_whole_number_of_steps_by_at_most_half_a_step(graph):
    before = {name: value.clone() for name, value in graph.named_parameters()}
    round_biases(graph)
    found = list(steps_and_biases(graph))
    assert len(found) == 10
    for step, bias in found:
        multiples = bias.double() / step.double()
        torch.testing.assert_close(multiples, multiples.round(), rtol=1e-6, atol=1e-3)
        (original,) = (before[name] for name, value in graph.named_parameters() if value is bias)
        assert ((bias - original).abs() <= step / 2 * 1.001).all()


def test_rounding_twice_changes_nothing_more(graph):
    round_biases(graph)
    once = {name: value.clone() for name, value in graph.named_parameters()}
    round_biases(graph)
    assert all(torch.equal(value, once[name]) for name, value in graph.named_parameters())
