import onnx
import pytest
import torch
from torch import nn

from model_compression.deployment import OnnxModel, graph_cost
from model_compression.evaluation import count_macs, count_parameters
from model_compression.images import Normalization


class Mixed(nn.Module):
    """Grouped and transposed convolutions, a product of activations, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2)
        self.slope = nn.PReLU(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.matrix = nn.Parameter(torch.randn(16, 5))
        self.classifier = nn.Linear(5, 3)

    def forward(self, x):
        rows = self.up(self.slope(self.down(x))).flatten(2)
        return self.classifier((rows @ rows.transpose(1, 2)).flatten(1) @ self.matrix)


def test_a_file_costs_what_its_module_does(export):
    module = Mixed()
    with torch.no_grad():
        module.down.weight[0] = 0
    normalization = Normalization(mean=(0.5, 0.4), std=(0.25, 0.3))
    cost = graph_cost(export(module, input_shape=(2, 8, 8), normalization=normalization))
    assert (cost.parameters, cost.nonzero_parameters) == count_parameters(module)
    assert cost.macs == count_macs(module, (2, 8, 8))


def test_a_folded_batch_norm_leaves_its_bias(float_export):
    parts = list(float_export.module.modules())
    norms = sum(part.num_features for part in parts if isinstance(part, nn.BatchNorm2d))
    # A norm has a scale and a shift a channel; the convolution before it keeps one bias.
    assert graph_cost(float_export.model).parameters == (
        count_parameters(float_export.module)[0] - norms
    )


def test_an_int8_file_counts_like_the_float_file_it_came_from(float_export, int8_export):
    before, after = graph_cost(float_export.model), graph_cost(int8_export.model)
    assert after.parameters == before.parameters
    assert after.macs == before.macs == count_macs(float_export.module, (1, 12, 12))
    assert 0.9 * before.nonzero_parameters < after.nonzero_parameters < before.parameters


def test_integers_at_the_zero_point_are_zeros():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (uint8[N, 1, 2, 2] images) => (float[N, 2] logits)
        <
            int8[2, 4] weight = {0, 1, 2, 2, 7, 7, 7, 0}, float[2] scale = {1, 1},
            int8[2] zero_point = {2, 7}
        >
        {
            numbers = Cast <to = 1> (images)
            flat = Flatten (numbers)
            w = DequantizeLinear <axis = 0> (weight, scale, zero_point)
            logits = Gemm <transB = 1> (flat, w)
        }
    """
    proto = onnx.parser.parse_model(text)
    metadata = {"stage": "quantized", "fingerprint": "f", "architecture": "net"}
    onnx.helper.set_model_props(proto, {"classes": '["a","b"]', **metadata})
    assert graph_cost(OnnxModel(proto.SerializeToString())) == (8, 3, 8)


def test_a_shape_that_the_graph_does_not_tell_is_an_error(float_export):
    proto = onnx.ModelProto.FromString(float_export.model.content)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    proto.graph.node.insert(
        0, onnx.helper.make_node("Mystery", [conv.input[0]], ["opaque"], domain="elsewhere")
    )
    proto.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    conv.input[0] = "opaque"
    with pytest.raises(ValueError, match="shape of a Conv's operand cannot be told"):
        graph_cost(OnnxModel(proto.SerializeToString()))
