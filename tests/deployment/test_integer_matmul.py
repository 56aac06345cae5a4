"""Linear layers whose inputs are quantized by their own range, in the file."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from model_compression.deployment import (
    FusionError,
    OnnxModel,
    OnnxRuntimeClassifier,
    compare_logits,
    depends_on_batch,
    fusion_report,
    graph_cost,
    pack,
    require_fused,
    unpack,
    widen_weights,
)
from model_compression.deployment.runtime import open_session
from model_compression.quantization import DynamicSettings, convert, quantize_after_training

LINEAR = ("query", "key", "value", "shared", "classifier")


class Tokens(nn.Module):
    """A convolution, linear layers over sequences, one input for three, one weight twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=3)
        self.query, self.key = nn.Linear(6, 8), nn.Linear(6, 8)
        self.value = nn.Linear(6, 24, bias=False)
        self.shared = nn.Linear(24, 24)
        self.classifier = nn.Linear(24, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)
        x = weights @ self.value(x)
        x = self.shared(self.dropout(self.shared(x).relu())).mean(1)
        return self.classifier(x)


def tokens() -> nn.Module:
    torch.manual_seed(0)
    return Tokens().eval()


@pytest.fixture(scope="module")
def dynamic(export, normalization, images):
    """Makes the module and the file of it, with any setting, once each."""
    made: dict[str, tuple[nn.Module, OnnxModel]] = {}

    def make(**settings: object):
        key = repr(settings)
        if key not in made:
            made[key] = make_anew(settings)
        return made[key]

    def make_anew(settings: dict[str, object]):
        batch = normalization.apply(torch.from_numpy(images[:64]))
        wanted = DynamicSettings.model_validate({"method": "dynamic", **settings})
        module = convert(quantize_after_training(tokens(), (1, 12, 12), wanted, [batch]))
        return module, export(module, stage="quantized")

    return make


@pytest.fixture(scope="module")
def plain(dynamic):
    return dynamic()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_bits": 2, "sharing": "tensor"},
        {"weight_bits": 4, "grid_steps": "codebook", "bits": {"shared": 32, "conv": 32}},
    ],
)
def test_every_answer_is_the_modules_and_linear_layers_run_in_integers(
    dynamic, images, normalization, settings
):
    module, model = dynamic(**settings)
    with torch.no_grad():
        expected = module(normalization.apply(torch.from_numpy(images[:500]))).numpy()
    parity = compare_logits(OnnxRuntimeClassifier(model).logits(images[:500]), expected)
    assert parity.top1_agreement == 1.0
    assert parity.max_abs_difference < 0.02 * np.ptp(expected)
    floats = [layer for layer, bits in settings.get("bits", {}).items() if bits == 32]
    report = require_fused(model, besides=floats)
    assert report.quantizable == LINEAR
    assert report.fused == tuple(name for name in LINEAR if name not in floats)
    assert report.weight_only == (() if "conv" in floats else ("conv",))


def test_onnx_runtime_fuses_the_products(plain, tmp_path):
    path = Path(tmp_path, "optimized.onnx")
    open_session(plain[1], 1, optimized_path=path)
    found = Counter(node.op_type for node in onnx.load(path).graph.node)
    # Three layers read one tensor, whose quantization is not theirs alone.
    assert found["MatMulIntegerToFloat"] == 3
    assert found["DynamicQuantizeMatMul"] == 3
    assert found["MatMulInteger"] == found["Gemm"] == 0


def test_what_several_layers_read_is_quantized_once_and_a_shared_weight_stored_once(plain):
    graph = plain[1].proto.graph
    found = Counter(node.op_type for node in graph.node)
    assert found["MatMulInteger"] == 6
    assert found["DynamicQuantizeLinear"] == 4
    weights = [tensor.name for tensor in graph.initializer if len(tensor.dims) == 2]
    assert sorted(weights) == sorted(LINEAR)


def test_the_onnx_reference_computes_the_same(plain, images):
    (expected,) = ReferenceEvaluator(plain[1].proto).run(None, {"images": images[:8]})
    logits = OnnxRuntimeClassifier(plain[1]).logits(images[:8])
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.ptp(expected))
    onnx.checker.check_model(plain[1].proto, full_check=True)


def test_it_costs_what_the_float_file_costs(plain, export):
    quantized, floats = (graph_cost(model) for model in (plain[1], export(tokens())))
    assert quantized.parameters == floats.parameters
    assert quantized.macs == floats.macs
    assert 0.9 * floats.nonzero_parameters < quantized.nonzero_parameters <= floats.parameters


def test_few_bits_are_stored_so_and_can_be_widened_and_packed(dynamic, plain, images):
    _, narrow = dynamic(weight_bits=2, sharing="tensor")
    stored = {tensor.name: tensor.data_type for tensor in narrow.proto.graph.initializer}
    assert stored["shared"] == onnx.TensorProto.INT2
    assert narrow.size < plain[1].size
    wide = widen_weights(narrow)
    assert {tensor.name: tensor.data_type for tensor in wide.proto.graph.initializer}[
        "shared"
    ] == onnx.TensorProto.INT8
    answers = [OnnxRuntimeClassifier(model).logits(images[:50]) for model in (narrow, wide)]
    np.testing.assert_array_equal(*answers)
    assert unpack(pack(narrow.content)) == narrow.content


def test_a_file_says_whether_its_answers_depend_on_the_batch(plain, float_export, int8_export):
    assert depends_on_batch(plain[1])
    assert not depends_on_batch(float_export.model)
    assert not depends_on_batch(int8_export.model)


def test_a_linear_layer_that_the_export_left_between_dequantizers_is_refused():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (uint8[N, 1, 2, 2] images) => (float[N, 2] logits)
        <
            int8[2, 4] layer = {0, 1, 2, 2, 7, 7, 7, 0}, float[2] scale = {1, 1},
            int8[2] zero_point = {0, 0}, float[2] bias = {1, 2}
        >
        {
            numbers = Cast <to = 1> (images)
            flat = Flatten (numbers)
            q, s, z = DynamicQuantizeLinear (flat)
            x = DequantizeLinear (q, s, z)
            w = DequantizeLinear <axis = 0> (layer, scale, zero_point)
            logits = Gemm <transB = 1> (x, w, bias)
        }
    """
    proto = onnx.parser.parse_model(text)
    metadata = {"stage": "quantized", "fingerprint": "f", "architecture": "net"}
    onnx.helper.set_model_props(proto, {"classes": '["a","b"]', **metadata})
    model = OnnxModel(proto.SerializeToString())
    assert fusion_report(model).unfused == ("layer",)
    with pytest.raises(FusionError, match="layer in float"):
        require_fused(model)


def test_a_network_of_convolutions_alone_is_a_file_of_weights_alone(export, normalization, images):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    batch = normalization.apply(torch.from_numpy(images[:16]))
    settings = DynamicSettings(method="dynamic")
    model = export(convert(quantize_after_training(module, (1, 12, 12), settings, [batch])))
    assert fusion_report(model) == ((), (), ("0",))
    assert not depends_on_batch(model)
