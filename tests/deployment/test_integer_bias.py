import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx.reference import ReferenceEvaluator

from model_compression.deployment.integer_bias import integer_bias, write_integer_biases

X = np.array([[3, 200, 17], [255, 0, 9]], np.uint8)


def gemm(
    *,
    bias: str = "{0.5, -3.25}",
    scale: str = "float[2] s_w = {0.01, 0.02}",
    zero_point: str = "int8[2] z_w = {0, 0}",
    transposed: int = 1,
    axis: int = 0,
) -> ir.Model:
    weight = "int8[2, 3] w" if transposed else "int8[3, 2] w"
    text = f"""
        <ir_version: 10, opset_import: ["": 20]>
        g (uint8[N, 3] x) => (float[N, 2] y)
        <
            float s_x = {{0.05}}, uint8 z_x = {{10}}, {weight} = {{1, -2, 3, 40, 50, -60}},
            {scale}, {zero_point}, float[2] b = {bias}
        >
        {{
            a = DequantizeLinear (x, s_x, z_x)
            v = DequantizeLinear <axis = {axis}> (w, s_w, z_w)
            y = Gemm <transB = {transposed}> (a, v, b)
        }}
    """
    return ir.from_proto(onnx.parser.parse_model(text))


def run(model: ir.Model) -> np.ndarray:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return ReferenceEvaluator(proto).run(None, {"x": X})[0]


def bias_is_integer(model: ir.Model) -> bool:
    node = next(node for node in model.graph if node.op_type == "Gemm")
    return node.inputs[2].producer() is not None


channels = st.integers(1, 6)
scales = st.floats(2.0**-40, 1.0, width=32)


@given(st.data())
def test_a_bias_is_off_by_half_a_step_at_most_and_fits_into_32_bits(data: st.DataObject):
    shape = data.draw(channels)
    bias = data.draw(arrays(np.float32, shape, elements=st.floats(-1024, 1024, width=32)))
    weight_scale = data.draw(arrays(np.float32, shape, elements=scales))
    input_scale = data.draw(scales)
    integers, fitting = integer_bias(bias, input_scale, weight_scale)
    assert integers.dtype == np.int32
    assert np.abs(integers.astype(np.int64)).max() <= 2**30 + 128
    assert np.all(fitting >= weight_scale)
    step = (np.float32(input_scale) * fitting).astype(np.float64)
    assert np.all(np.abs(integers * step - bias) <= 0.5 * step)


@given(st.data())
def test_a_bias_that_fits_leaves_the_weights_alone(data: st.DataObject):
    shape = data.draw(channels)
    weight_scale = data.draw(arrays(np.float32, shape, elements=st.floats(2**-10, 1, width=32)))
    bias = data.draw(arrays(np.float32, shape, elements=st.floats(-64, 64, width=32)))
    assert np.array_equal(integer_bias(bias, 2**-10, weight_scale)[1], weight_scale)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"transposed": 0, "axis": 1},
        {"scale": "float s_w = {0.01}", "zero_point": "int8 z_w = {0}"},
    ],
)
def test_the_layer_computes_the_same_with_an_integer_bias(changes: dict):
    model = gemm(**changes)
    before = run(model)
    write_integer_biases(model.graph)
    assert bias_is_integer(model)
    np.testing.assert_allclose(run(model), before, atol=0.05 * 0.02)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "float[2] s_w = {1e-13, 0.02}"},
        {"scale": "float[2] s_w = {1e-13, 0.02}", "transposed": 0, "axis": 1},
        {"scale": "float s_w = {1e-13}", "zero_point": "int8 z_w = {0}"},
    ],
)
def test_a_bias_far_larger_than_its_weights_survives(changes: dict):
    model = gemm(**changes)
    before = run(model)
    write_integer_biases(model.graph)
    assert bias_is_integer(model)
    np.testing.assert_allclose(run(model), before, atol=0.05 * 0.02)


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_point": "int8[2] z_w = {0, 3}"},
        {
            "transposed": 1,
            "axis": 1,
            "scale": "float[3] s_w = {0.1, 0.2, 0.3}",
            "zero_point": "int8[3] z_w = {0, 0, 0}",
        },
    ],
)
def test_a_weight_that_no_kernel_takes_keeps_its_float_bias(changes: dict):
    model = gemm(**changes)
    write_integer_biases(model.graph)
    assert not bias_is_integer(model)


def test_a_float_layer_is_left_alone():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (float[N, 3] x) => (float[N, 2] y)
        <float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, 2}>
        { y = Gemm (x, w, b) }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    before = ir.to_proto(model).SerializeToString()
    write_integer_biases(model.graph)
    assert ir.to_proto(model).SerializeToString() == before


def test_scales_that_are_computed_are_left_alone():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (uint8[N, 3] x) => (float[N, 2] y)
        <float s = {0.1}, uint8 z = {0}, int8[3, 2] w = {1, 2, 3, 4, 5, 6}, int8 z_w = {0},
         float[2] b = {1, 2}>
        {
            t = Add (s, s)
            a = DequantizeLinear (x, t, z)
            v = DequantizeLinear (w, s, z_w)
            y = Gemm (a, v, b)
        }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    write_integer_biases(model.graph)
    assert not bias_is_integer(model)
