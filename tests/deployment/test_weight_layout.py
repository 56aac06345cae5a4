import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from model_compression.deployment import (
    OnnxRuntimeClassifier,
    compare_logits,
    graph_cost,
    require_fused,
)
from model_compression.deployment.weight_layout import transpose_stored_weights
from model_compression.evaluation import count_parameters
from model_compression.quantization import calibrate, convert, prepare_qat

X = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


class Tokens(nn.Module):
    """Linear layers over a sequence of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.wide = nn.Linear(8, 16)
        self.narrow = nn.Linear(16, 8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.classifier(self.narrow(torch.relu(self.wide(tokens))).mean(1))


def run(model: ir.Model) -> np.ndarray:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return ReferenceEvaluator(proto).run(None, {"x": X})[0]


@pytest.mark.parametrize("transpose", ["Transpose (d)", "Transpose <perm = [1, 0]> (d)"])
@pytest.mark.parametrize(
    ("axis", "scale", "zero_point"),
    [
        (0, "float[2] s = {0.1, 0.2}", "int8[2] z = {0, 1}"),
        (1, "float[3] s = {0.1, 0.2, 0.3}", "int8[3] z = {0, 1, 2}"),
        (1, "float s = {0.1}", "int8 z = {3}"),
    ],
)
def test_the_weight_is_transposed_in_storage(transpose, axis, scale, zero_point):
    text = f"""
        <ir_version: 10, opset_import: ["": 20]>
        g (float[1, 2, 3] x) => (float[1, 2, 2] y)
        <int8[2, 3] w = {{1, 2, 3, 4, 5, 6}}, {scale}, {zero_point}>
        {{
            d = DequantizeLinear <axis = {axis}> (w, s, z)
            t = {transpose}
            y = MatMul (x, t)
        }}
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    before = run(model)
    transpose_stored_weights(model.graph)
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "MatMul"]
    assert "w" not in model.graph.initializers
    np.testing.assert_array_equal(run(model), before)


def test_a_weight_that_is_read_both_ways_round_is_kept():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (float[1, 2, 3] x) => (float[1, 2, 3] y)
        <int8[2, 3] w = {1, 2, 3, 4, 5, 6}, float s = {0.1}, int8 z = {0}>
        {
            d = DequantizeLinear (w, s, z)
            t = Transpose (d)
            a = MatMul (x, t)
            y = MatMul (a, d)
        }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    before = run(model)
    transpose_stored_weights(model.graph)
    assert "w" in model.graph.initializers
    np.testing.assert_array_equal(run(model), before)


def test_a_transposed_activation_stays():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (float[1, 2, 3] x) => (float[1, 3, 2] y) { y = Transpose <perm = [0, 2, 1]> (x) }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    transpose_stored_weights(model.graph)
    assert [node.op_type for node in model.graph] == ["Transpose"]


def test_linear_layers_over_sequences_run_in_integers(export, images, normalization):
    torch.manual_seed(0)
    module = Tokens().eval()
    prepared = prepare_qat(module, (1, 12, 12))
    batch = normalization.apply(torch.from_numpy(images))
    calibrate(prepared, [batch])
    converted = convert(prepared)
    model = export(converted)
    assert require_fused(model).fused == ("patch", "wide", "narrow", "classifier")
    assert graph_cost(model).parameters == count_parameters(module)[0]
    with torch.no_grad():
        expected = converted(batch).numpy()
    assert compare_logits(OnnxRuntimeClassifier(model).logits(images), expected)[0] > 0.99
