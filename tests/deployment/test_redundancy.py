"""What is dropped changes no logit, and no kernel that computes it."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier, require_fused
from model_compression.deployment import export as export_module
from model_compression.deployment.redundancy import drop_redundant


def graph_of(text: str) -> ir.Model:
    return ir.from_proto(
        onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}')
    )


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def results(model: ir.Model) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(0).normal(0, 20, (50, 4)).astype(np.float32)
    x[0] = [0, -0.0, 1e6, -1e6]
    return ReferenceEvaluator(proto).run(None, {"x": x})


def dropped_from(text: str) -> ir.Model:
    """The graph without the redundant, which gives the same numbers."""
    model = graph_of(text)
    before = results(model)
    drop_redundant(model.graph)
    for expected, result in zip(before, results(model), strict=True):
        assert expected.dtype == result.dtype
        np.testing.assert_array_equal(result, expected)
    return model


@pytest.mark.parametrize(
    ("kind", "zero_point", "goes"),
    [
        ("uint8", 0, True),
        ("int8", -128, True),
        ("uint8", 1, False),
        ("int8", 0, False),
        ("int8", -127, False),
    ],
)
def test_a_relu_goes_where_quantizing_clips_at_zero_too(kind, zero_point, goes):
    model = dropped_from(f"""
        g (float[N, 4] x) => ({kind}[N, 4] y) <float s = {{0.1}}, {kind} z = {{{zero_point}}}>
        {{ r = Relu (x)  y = QuantizeLinear (r, s, z) }}
    """)
    assert operators(model) == ["Relu"] * (not goes) + ["QuantizeLinear"]


def test_a_relu_goes_in_front_of_a_quantizer_without_a_zero_point():
    model = dropped_from("""
        g (float[N, 4] x) => (uint8[N, 4] y) <float s = {0.1}>
        { r = Relu (x)  y = QuantizeLinear (r, s) }
    """)
    assert operators(model) == ["QuantizeLinear"]


def test_a_relu_stays_where_a_quantizer_gives_signed_numbers():
    model = graph_of("""
        g (float[N, 4] x) => (int8[N, 4] y) <float s = {0.1}>
        { r = Relu (x)  y = QuantizeLinear <output_dtype = 3> (r, s) }
    """)
    drop_redundant(model.graph)
    assert operators(model) == ["Relu", "QuantizeLinear"]


def test_a_relu_that_others_read_too_stays():
    for other, result in (("w = Neg (r)", "w"), ("", "r")):
        model = dropped_from(f"""
            g (float[N, 4] x) => (uint8[N, 4] y, float[N, 4] {result})
            <float s = {{0.1}}, uint8 z = {{0}}>
            {{ r = Relu (x)  y = QuantizeLinear (r, s, z)  {other} }}
        """)
        assert "Relu" in operators(model)


def test_a_relu_whose_readers_all_clip_goes():
    model = dropped_from("""
        g (float[N, 4] x) => (uint8[N, 4] y, int8[N, 4] w)
        <float s = {0.1}, uint8 z = {0}, float t = {0.3}, int8 u = {-128}>
        { r = Relu (x)  y = QuantizeLinear (r, s, z)  w = QuantizeLinear (r, t, u) }
    """)
    assert operators(model) == ["QuantizeLinear"] * 2


@pytest.mark.parametrize(
    ("zero_points", "operator", "goes"),
    [
        ([0, 0], "d = Conv (c, w, b)", True),
        ([0, 1], "d = Conv (c, w, b)", False),
        # Without it ONNX Runtime computes these in float.
        ([0, 0], "d = MatMul (c, w)", False),
    ],
)
def test_a_zero_point_of_zero_goes_where_no_kernel_needs_it(zero_points, operator, goes):
    model = graph_of(f"""
        g (float[2, 2, 1, 1] c) => (d)
        <float[2] s = {{0.1, 0.2}}, int8[2] z = {{{zero_points[0]}, {zero_points[1]}}},
         int8[2, 2, 1, 1] i = {{1, -2, 3, 4}}, int32[2] j = {{5, 6}}, int32[2] k = {{0, 0}}>
        {{
            w = DequantizeLinear <axis = 0> (i, s, z)
            b = DequantizeLinear <axis = 0> (j, s, k)
            {operator}
        }}
    """)
    images = {"c": np.random.default_rng(0).normal(size=(2, 2, 1, 1)).astype(np.float32)}
    before = ReferenceEvaluator(ir.to_proto(model)).run(None, images)
    drop_redundant(model.graph)
    (weight,) = (node for node in model.graph if node.outputs[0].name == "w")
    assert len(weight.inputs) == 3 - goes
    assert ("z" in model.graph.initializers) != goes
    after = ReferenceEvaluator(ir.to_proto(model)).run(None, images)
    np.testing.assert_array_equal(before[0], after[0])


def test_the_zero_points_of_what_is_computed_stay():
    model = dropped_from("""
        g (float[N, 4] x) => (float[N, 4] y) <float s = {0.1}, uint8 z = {0}>
        { a = QuantizeLinear (x, s, z)  y = DequantizeLinear (a, s, z) }
    """)
    assert [len(node.inputs) for node in model.graph] == [3, 3]


def test_an_exported_network_gives_the_same_logits_by_the_same_kernels(
    int8_export, export, images, monkeypatch
):
    after = int8_export.model
    monkeypatch.setattr(export_module, "drop_redundant", lambda graph: None)
    before = export(int8_export.module, stage="quantized")
    assert after.size < before.size
    assert relus(after) < relus(before)
    assert require_fused(after) == require_fused(before)
    np.testing.assert_array_equal(
        OnnxRuntimeClassifier(after).logits(images), OnnxRuntimeClassifier(before).logits(images)
    )


def relus(model: OnnxModel) -> int:
    return sum(node.op_type == "Relu" for node in model.proto.graph.node)
