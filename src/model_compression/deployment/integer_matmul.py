"""Writes linear layers that read bytes of a batch's own range as integer matrix products.

Knows graphs; who rounds what is the quantizer's business. Between ``DequantizeLinear``s, ONNX
Runtime fuses a layer whose bias is an integer, in steps of the input's scale, which must be known
beforehand. Where the scale is computed with the batch, it looks for the products themselves,

    DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul (by s_x * s_w) -> Add (the bias)

and makes ``DynamicQuantizeMatMul`` of them. Convolutions have no such form: see
``docs/quantization.md``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import onnxscript

from model_compression.deployment.graph_editing import (
    add_constant,
    constant_of,
    dequantized_from,
    drop_unused_constants,
    dynamically_quantized,
    input_of,
    integer_attribute,
    undequantized,
)
from model_compression.own_range import ROUND_BY_OWN_RANGE

_onnx = onnxscript.values.Opset("", 20)


def _rounded_by_own_range(x: Any) -> Any:
    integers, scale, zero_point = _onnx.DynamicQuantizeLinear(x)
    return _onnx.DequantizeLinear(integers, scale, zero_point)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    ROUND_BY_OWN_RANGE: _rounded_by_own_range
}
"""For PyTorch's exporter: what an operator of a graph is in ONNX."""


class _Weight(NamedTuple):
    """A layer's integers, and the step that they are counted in."""

    integers: ir.Value
    """(in, out)."""
    scale: ir.Value
    """(out,) or ()."""


def write_integer_matmuls(graph: ir.Graph) -> None:
    """Replaces each ``Gemm`` and ``MatMul`` of a dynamic input and a stored weight, in place."""
    transposed: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if node.op_type in ("Gemm", "MatMul"):
            _write_integer_matmul(graph, node, transposed)
    drop_unused_constants(graph)


def _write_integer_matmul(
    graph: ir.Graph, node: ir.Node, transposed: dict[ir.Value, ir.Value]
) -> None:
    source = dynamically_quantized(undequantized(node.inputs[0]))
    weight = _weight(graph, node, transposed)
    if source is None or weight is None:
        return
    integers, scale, zero_point = source.outputs
    product = ir.node("MatMulInteger", [integers, weight.integers, zero_point])
    step = ir.node("Mul", [scale, weight.scale])
    floats = ir.node("Cast", [product.outputs[0]], attributes={"to": ir.DataType.FLOAT.value})
    nodes = [product, step, floats, ir.node("Mul", [floats.outputs[0], step.outputs[0]])]
    bias = input_of(node, 2)
    if bias is not None:
        nodes.append(ir.node("Add", [nodes[-1].outputs[0], bias]))
    for each in nodes:
        each.metadata_props.update(node.metadata_props)
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], nodes, node.outputs, nodes[-1].outputs
    )


def _weight(graph: ir.Graph, node: ir.Node, transposed: dict[ir.Value, ir.Value]) -> _Weight | None:
    """The layer's weight; ``None`` where it can't be read as (in, out) with a scale a column."""
    dequantize = dequantized_from(node.inputs[1])
    if dequantize is None or not _is_plain(node):
        return None
    stored, scale = dequantize.inputs[0], dequantize.inputs[1]
    integers, steps = constant_of(stored), constant_of(scale)
    zero_point = constant_of(input_of(dequantize, 2))
    if stored is None or scale is None or integers is None or steps is None:
        return None
    if integers.ndim != 2 or (zero_point is not None and np.any(zero_point)):
        return None
    is_transposed = bool(integer_attribute(node, "transB", 0))
    column = 0 if is_transposed else 1
    if steps.ndim and integer_attribute(dequantize, "axis", 1) % 2 != column:
        return None
    if is_transposed:
        # What several layers share is turned round once, and stays one.
        if stored not in transposed:
            transposed[stored] = add_constant(graph, integers.T, stored.name or "weight")
        stored = transposed[stored]
    return _Weight(stored, scale)


def _is_plain(node: ir.Node) -> bool:
    """Whether a ``Gemm`` is ``x W + b`` alone; a ``MatMul`` is."""
    factors = (node.attributes.get(name) for name in ("alpha", "beta"))
    return not integer_attribute(node, "transA", 0) and all(
        factor is None or factor.as_float() == 1.0 for factor in factors
    )
