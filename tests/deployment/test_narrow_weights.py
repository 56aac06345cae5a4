"""Weights of few bits: fewer bytes in the file, the very same logits, the very same kernels."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from model_compression.deployment import (
    FusionError,
    OnnxModel,
    OnnxRuntimeClassifier,
    fusion_report,
    graph_cost,
    pack,
    require_fused,
    unpack,
    widen_weights,
)
from model_compression.deployment.narrow_weights import narrow_weights
from model_compression.deployment.slimming import slim
from model_compression.quantization import (
    QatSettings,
    calibrate,
    convert,
    prepare_qat,
)

LAYERS = ("conv", "depthwise", "grouped", "tokens", "hidden", "classifier")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 1, 12, 12), dtype=np.uint8)


class Network(nn.Module):
    """Each kind of layer with a weight that is quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.tokens = nn.Linear(16, 16)
        self.hidden = nn.Linear(16, 24)
        self.classifier = nn.Linear(24, 3)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.depthwise(torch.relu(self.conv(x))))))
        x = torch.relu(self.tokens(x.flatten(2).transpose(1, 2))).mean(1)
        return self.classifier(torch.relu(self.hidden(x)))


@pytest.fixture(scope="module")
def wide(export, normalization) -> OnnxModel:
    torch.manual_seed(0)
    prepared = prepare_qat(Network(), (1, 12, 12))
    calibrate(prepared, [normalization.apply(torch.from_numpy(IMAGES))])
    return export(convert(prepared))


def with_weights(model: OnnxModel, weights: dict[str, np.ndarray]) -> OnnxModel:
    proto = onnx.ModelProto.FromString(model.content)
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return OnnxModel(proto.SerializeToString())


def narrowed(model: OnnxModel) -> OnnxModel:
    parsed = ir.from_proto(model.proto)
    narrow_weights(parsed)
    proto = ir.to_proto(parsed)
    onnx.checker.check_model(proto, full_check=True)
    return OnnxModel(proto.SerializeToString(deterministic=True))


def slim_size(model: OnnxModel) -> int:
    parsed = ir.from_proto(model.proto)
    slim(parsed)
    return ir.to_proto(parsed).ByteSize()


def stored(model: OnnxModel) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.proto.graph.initializer}


def shapes(model: OnnxModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(stored(model)[name].dims) for name in LAYERS}


def opset(model: OnnxModel) -> int:
    return model.proto.opset_import[0].version


def logits(model: OnnxModel) -> np.ndarray:
    return OnnxRuntimeClassifier(model).logits(IMAGES)


@settings(max_examples=8, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_weights_of_any_widths_give_the_same_logits_by_the_same_kernels(wide, data, seed):
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes(wide).items():
        values = data.draw(st.lists(st.integers(-128, 127), min_size=1, max_size=20), name)
        few = data.draw(st.sampled_from([np.int8([-1, 0, 1]), np.arange(-8, 8), np.array(values)]))
        weights[name] = generator.choice(few.astype(np.int8), shape)
    before = with_weights(wide, weights)
    after = narrowed(before)
    np.testing.assert_array_equal(logits(after), logits(before))
    assert require_fused(after) == require_fused(before)
    assert graph_cost(after) == graph_cost(before)
    assert slim_size(after) <= slim_size(before)


@pytest.mark.parametrize(
    ("values", "kind", "version", "share"),
    [
        ([-2, -1, 0, 1], TensorProto.INT2, 25, 0.25),
        ([-8, 3, 7], TensorProto.UINT2, 25, 0.25),
        ([-8, -5, -1, 0, 7], TensorProto.INT4, 21, 0.5),
        ([-100, -50, 0, 3, 8, 100], TensorProto.UINT4, 21, 0.5),
        (range(-8, 9), TensorProto.INT8, 20, 1),
    ],
)
def test_a_weight_is_stored_in_the_narrowest_type_that_holds_it(wide, values, kind, version, share):
    shape = shapes(wide)["grouped"]
    array = np.resize(np.int8(list(values)), shape)
    after = narrowed(with_weights(wide, {"grouped": array}))
    tensor = stored(after)["grouped"]
    assert (tensor.data_type, tuple(tensor.dims)) == (kind, shape)
    assert len(tensor.raw_data) == share * array.size
    assert opset(after) == version


def test_unsigned_weights_are_narrowed_too():
    proto = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 20], metadata_props: ["classes": "[1]"]>
        g (float[N, 100] x) => (float[N, 1] y) <float s = {0.5}, uint8 z = {1}>
        { d = DequantizeLinear (w, s, z)  y = MatMul (x, d) }
        """
    )
    integers = np.arange(100, dtype=np.uint8).reshape(100, 1) % 4
    proto.graph.initializer.append(numpy_helper.from_array(integers, "w"))
    model = ir.from_proto(proto)
    narrow_weights(model)
    assert model.graph.initializers["w"].dtype == ir.DataType.UINT2
    x = np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32)
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ (0.5 * (integers - np.float32(1))), rtol=1e-5)


def test_a_weight_too_small_to_gain_is_left_alone(wide):
    few = np.ones(shapes(wide)["classifier"], np.int8)[:, :12]
    proto = onnx.ModelProto.FromString(wide.content)
    for tensor in proto.graph.initializer:
        if tensor.name == "classifier":
            tensor.CopyFrom(numpy_helper.from_array(few, "classifier"))
    model = ir.from_proto(proto)
    narrow_weights(model)
    assert model.graph.initializers["classifier"].dtype == ir.DataType.INT8
    assert model.opset_imports[""] == 20


def test_an_eight_bit_file_is_left_as_it_is(int8_export):
    before, after = int8_export.model.proto.graph, narrowed(int8_export.model).proto.graph
    assert list(after.node) == list(before.node)
    assert list(after.initializer) == list(before.initializer)
    assert opset(int8_export.model) == 20
    assert widen_weights(int8_export.model) is int8_export.model


def test_a_graph_that_newer_opsets_read_otherwise_keeps_its_bytes(wide):
    parsed = ir.from_proto(with_weights(wide, ternary(wide)).proto)
    values = parsed.graph[0].inputs
    parsed.graph.insert_after(parsed.graph[0], ir.node("GroupNormalization", [values[0]] * 3))
    narrow_weights(parsed)
    assert parsed.opset_imports[""] == 20
    assert parsed.graph.initializers["conv"].dtype == ir.DataType.INT8


def ternary(model: OnnxModel) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        name: generator.integers(-1, 2, shape, dtype=np.int8)
        for name, shape in shapes(model).items()
    }


def test_widened_again_it_is_the_file_it_came_from(wide):
    weights = ternary(wide)
    weights["hidden"] = weights["hidden"] * np.int8(100)
    before = with_weights(wide, weights)
    after = narrowed(before)
    again = widen_weights(after)
    assert {tensor.data_type for tensor in again.proto.graph.initializer} == {
        tensor.data_type for tensor in before.proto.graph.initializer
    }
    for name in LAYERS:
        np.testing.assert_array_equal(numpy_helper.to_array(stored(again)[name]), weights[name])
    assert [n.op_type for n in again.proto.graph.node] == [
        n.op_type for n in before.proto.graph.node
    ]
    np.testing.assert_array_equal(logits(again), logits(after))
    assert require_fused(again) == require_fused(after)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(2**7 - 1, np.int8), (-(2**15), np.int16), (2**15, np.int32)]
)
def test_a_bias_is_stored_in_as_few_bytes_as_hold_it(largest, dtype):
    bias = np.linspace(-100, 100, 64).astype(np.int32)
    bias[0] = largest
    proto = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 20]>
        g (float[N, 2] x) => (float[N, 64] y) <float s = {0.5}>
        {
            d = DequantizeLinear (w, s)
            c = DequantizeLinear (b, s)
            y = Gemm <transB = 1> (x, d, c)
        }
        """
    )
    weight = np.arange(128, dtype=np.int8).reshape(64, 2)
    constants = {"w": weight, "b": bias}
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    model = ir.from_proto(proto)
    narrow_weights(model)
    assert model.graph.initializers["b"].const_value.numpy().dtype == dtype
    assert model.opset_imports[""] == 20
    x = np.ones((1, 2), np.float32)
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(y[0], 0.5 * (weight.sum(axis=1, dtype=int) + bias))


def with_a_float_layer(model: OnnxModel, name: str) -> OnnxModel:
    """The file as it is where a layer amid others was left in float."""
    parsed = ir.from_proto(model.proto)
    (dequantize,) = parsed.graph.initializers[name].consumers()
    integers = parsed.graph.initializers[name].const_value.numpy()
    scale = dequantize.inputs[1].const_value.numpy().reshape(-1, *(1 for _ in integers.shape[1:]))
    floats = (integers * scale).astype(np.float32)
    (layer,) = dequantize.outputs[0].consumers()
    del parsed.graph.initializers[name]
    value = ir.Value(name=name, const_value=ir.tensor(floats, name=name))
    parsed.graph.register_initializer(value)
    layer.replace_input_with(1, value)
    parsed.graph.remove(dequantize, safe=True)
    return OnnxModel(ir.to_proto(parsed).SerializeToString())


def test_a_float_layer_amid_narrow_ones_is_allowed_where_it_is_named(wide):
    before = with_a_float_layer(with_weights(wide, ternary(wide)), "grouped")
    after = narrowed(before)
    assert graph_cost(after) == graph_cost(before)
    np.testing.assert_array_equal(logits(after), logits(before))
    report = fusion_report(after)
    assert report.unfused == ("grouped",)
    assert require_fused(after, besides=["grouped"]) == report
    with pytest.raises(FusionError, match="it runs grouped in float"):
        require_fused(after, besides=["conv"])
    assert unpack(pack(after.content)) == after.content


def test_of_a_file_whose_weights_only_are_quantized_no_fusion_is_asked(wide, float_export):
    parsed = ir.from_proto(float_export.model.proto)
    names = []
    for node in [node for node in parsed.graph if node.op_type in ("Conv", "Gemm")]:
        weight = node.inputs[1]
        integers = np.sign(np.rint(20 * weight.const_value.numpy())).astype(np.int8)
        names.append(weight.name)
        scale = ir.Value(name=f"{weight.name}_scale", const_value=ir.tensor(np.float32(0.05)))
        parsed.graph.register_initializer(scale)
        weight.const_value = ir.tensor(integers, name=weight.name)
        weight.dtype = ir.DataType.INT8
        dequantize = ir.node("DequantizeLinear", [weight, scale])
        parsed.graph.insert_before(node, dequantize)
        node.replace_input_with(1, dequantize.outputs[0])
    before = OnnxModel(ir.to_proto(parsed).SerializeToString())
    after = narrowed(before)
    assert after.size < before.size < float_export.model.size
    report = require_fused(after)
    assert (report.quantizable, report.fused) == ((), ())
    assert report.weight_only == tuple(names)
    assert graph_cost(after) == graph_cost(before)
    np.testing.assert_array_equal(logits(after), logits(before))


def test_the_exported_file_of_a_two_bit_network_is_narrow(export, images, normalization):
    torch.manual_seed(0)
    prepared = prepare_qat(Network(), (1, 12, 12), QatSettings(weight_bits=2))
    calibrate(prepared, [normalization.apply(torch.from_numpy(images))])
    module = convert(prepared)
    model = export(module)
    kinds = {name: stored(model)[name].data_type for name in LAYERS}
    assert kinds["grouped"] == kinds["tokens"] == kinds["hidden"] == TensorProto.INT2
    assert len(require_fused(model).fused) == len(LAYERS)
    with torch.no_grad():
        expected = module(normalization.apply(torch.from_numpy(images))).numpy()
    difference = abs(OnnxRuntimeClassifier(model).logits(images) - expected).max()
    assert difference < 0.05 * np.ptp(expected)
