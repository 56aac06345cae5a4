import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from model_compression.deployment.pooling import write_global_pooling

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)


def model(body: str, output: str, constants: str = "int64[2] axes = {2, 3}") -> ir.Model:
    text = f"""
        <ir_version: 10, opset_import: ["": 20]>
        g (float[N, 3, 4, 5] x) => ({output} y) <{constants}> {{ {body} }}
    """
    return ir.from_proto(onnx.parser.parse_model(text))


def run(model: ir.Model) -> np.ndarray:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return ReferenceEvaluator(proto).run(None, {"x": IMAGES})[0]


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("axes", ["{2, 3}", "{-1, -2}"])
@pytest.mark.parametrize(
    ("keepdims", "output", "expected"),
    [
        (0, "float[N, 3]", ["GlobalAveragePool", "Flatten"]),
        (1, "float[N, 3, 1, 1]", ["GlobalAveragePool"]),
    ],
)
def test_a_mean_over_pixels_becomes_a_global_pooling_of_the_same_value(
    axes: str, keepdims: int, output: str, expected: list[str]
):
    changed = model(
        f"y = ReduceMean <keepdims = {keepdims}> (x, axes)", output, f"int64[2] axes = {axes}"
    )
    before = run(changed)
    write_global_pooling(changed.graph)
    assert operators(changed) == expected
    assert [value.name for value in changed.graph.outputs] == ["y"]
    np.testing.assert_allclose(run(changed), before, atol=1e-6)


def test_a_quantized_mean_is_flattened_as_bytes():
    changed = model(
        """
            mean = ReduceMean <keepdims = 0> (x, axes)
            q = QuantizeLinear (mean, scale, zero)
            y = DequantizeLinear (q, scale, zero)
        """,
        "float[N, 3]",
        "int64[2] axes = {2, 3}, float scale = {0.01}, uint8 zero = {128}",
    )
    before = run(changed)
    write_global_pooling(changed.graph)
    assert operators(changed) == [
        "GlobalAveragePool",
        "QuantizeLinear",
        "Flatten",
        "DequantizeLinear",
    ]
    np.testing.assert_allclose(run(changed), before, atol=0.011)


@pytest.mark.parametrize(
    ("body", "output", "constants"),
    [
        ("y = ReduceMean <keepdims = 0> (x, axes)", "float[N, 4]", "int64[2] axes = {1, 3}"),
        ("y = ReduceMean <keepdims = 0> (x)", "float", "int64[2] axes = {2, 3}"),
        (
            "z = Flatten (x) y = ReduceMean <keepdims = 0> (z, axes)",
            "float[N]",
            "int64[1] axes = {1}",
        ),
    ],
)
def test_other_means_stay(body: str, output: str, constants: str):
    unchanged = model(body, output, constants)
    write_global_pooling(unchanged.graph)
    assert operators(unchanged)[-1] == "ReduceMean"
