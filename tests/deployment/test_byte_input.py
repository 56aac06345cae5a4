import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from model_compression.deployment.byte_input import normalising_nodes, take_bytes
from model_compression.images import Normalization

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


def quantizing(scale: float, zero_point: int, kind: str = "uint8") -> ir.Model:
    text = f"""
        <ir_version: 10, opset_import: ["": 20]>
        g (float[N, C, 16, 16] images) => ({kind}[N, C, 16, 16] y)
        <float s = {{{scale!r}}}, {kind} z = {{{zero_point}}}>
        {{ q = QuantizeLinear (images, s, z) y = Identity (q) }}
    """
    return ir.from_proto(onnx.parser.parse_model(text))


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def run(model: ir.Model, images: np.ndarray) -> np.ndarray:
    proto = ir.to_proto(model)
    return ReferenceEvaluator(proto).run(None, {"images": images})[0]


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.5))
def test_a_range_that_is_the_images_own_gives_every_byte_back(mean: float, std: float):
    # Half a step between two zero points, rounding decides; either way is right.
    assume(abs(255 * mean % 1 - 0.5) > 0.01)
    model = quantizing(float(np.float32(1 / (255 * std))), round(255 * mean))
    take_bytes(model.graph, Normalization(mean=(mean,), std=(std,)))
    assert operators(model) == ["Identity"]
    assert model.graph.inputs[0].dtype == ir.DataType.UINT8
    assert np.array_equal(run(model, EVERY_BYTE), EVERY_BYTE)


@given(st.floats(0.005, 0.03), st.integers(0, 255))
def test_with_or_without_the_short_cut_the_graph_quantizes_normalised_images(
    scale: float, zero_point: int
):
    scale = float(np.float32(scale))
    normalization = Normalization(mean=(0.286,), std=(0.353,))
    model = quantizing(scale, zero_point)
    take_bytes(model.graph, normalization)
    normalised = normalization.apply(torch.from_numpy(EVERY_BYTE)).numpy()
    expected = np.clip(np.rint(normalised / np.float32(scale)) + zero_point, 0, 255)
    assert np.array_equal(run(model, EVERY_BYTE), expected)


@pytest.mark.parametrize(
    ("normalization", "model"),
    [
        (Normalization(mean=(0.5,), std=(0.25,)), quantizing(1 / 64, 128)),
        (Normalization(mean=(0.2, 0.6), std=(0.25, 0.25)), quantizing(1 / (255 * 0.25), 51)),
        (Normalization(mean=(0.5,), std=(0.25,)), quantizing(1 / (255 * 0.25), 0, "int8")),
    ],
)
def test_a_range_that_changes_a_byte_keeps_the_normalisation(normalization, model):
    take_bytes(model.graph, normalization)
    assert operators(model) == ["Cast", "Mul", "Add", "QuantizeLinear", "Identity"]
    assert [node.op_type for node in normalising_nodes(model.graph)] == ["Cast", "Mul", "Add"]


def test_a_float_reader_beside_the_quantizer_still_gets_normalised_numbers():
    text = """
        <ir_version: 10, opset_import: ["": 20]>
        g (float[N, 1, 16, 16] images) => (float[N, 1, 16, 16] y)
        <float s = {0.015686274509803921}, uint8 z = {102}>
        {
            q = QuantizeLinear (images, s, z)
            d = DequantizeLinear (q, s, z)
            y = Sub (d, images)
        }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    take_bytes(model.graph, Normalization(mean=(0.4,), std=(0.25,)))
    assert "QuantizeLinear" not in operators(model)
    np.testing.assert_allclose(run(model, EVERY_BYTE), 0, atol=1e-5)


def test_a_graph_that_takes_bytes_straight_has_no_normalising_nodes():
    model = quantizing(1 / (255 * 0.25), 102)
    take_bytes(model.graph, Normalization(mean=(0.4,), std=(0.25,)))
    assert normalising_nodes(model.graph) == []
