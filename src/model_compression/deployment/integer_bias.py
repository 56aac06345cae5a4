"""Turns the float biases of a quantized graph into the 32-bit integers that int8 kernels add.

Knows QDQ graphs; how their scales came about is the quantizer's business.

An int8 kernel adds up ``sum(x_q * w_q)`` in int32, in steps of ``s_x * s_w``, so its bias must be
``b_q = round(b / (s_x * s_w))``. With the bias written that way ONNX Runtime replaces a ``Gemm``
between quantized operands by ``QGemm``; with a float bias it leaves it in float.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from model_compression.deployment.graph_editing import (
    add_constant,
    constant_of,
    dequantized_from,
    drop_unused_constants,
    input_of,
    integer_attribute,
)

_LARGEST_BIAS = 2**30
"""Half of int32's range, so that the products' sum still fits on top of the bias."""


def integer_bias(
    bias: NDArray[np.float32], input_scale: float, weight_scale: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The bias in steps of ``input_scale * weight_scale``; all arrays of shape (channels,).

    Returns:
        The integers, and the weight scale that they are for: larger than the one given where the
        bias would otherwise exceed 2^30 steps.
    """
    least = np.abs(bias).astype(np.float64) / (np.float64(input_scale) * _LARGEST_BIAS)
    weight_scale = np.maximum(weight_scale, least.astype(np.float32))
    step = np.float32(input_scale) * weight_scale
    return np.rint(bias / step.astype(np.float64)).astype(np.int32), weight_scale


def write_integer_biases(graph: ir.Graph) -> None:
    """Replaces the bias of every ``Conv`` and ``Gemm`` between quantized operands, in place.

    A channel whose weights are so small that its bias would not fit into 32 bits (a pruned channel
    has weights of zero and an arbitrary scale) gets a larger weight scale instead.
    """
    for node in list(graph):
        if node.op_type in ("Conv", "Gemm"):
            _write_integer_bias(graph, node)
    drop_unused_constants(graph)


def _write_integer_bias(graph: ir.Graph, node: ir.Node) -> None:
    operand, weight = dequantized_from(node.inputs[0]), dequantized_from(node.inputs[1])
    bias = constant_of(input_of(node, 2))
    if operand is None or weight is None or bias is None or bias.ndim != 1:
        return
    input_scale, stored_scale = constant_of(operand.inputs[1]), constant_of(weight.inputs[1])
    if input_scale is None or input_scale.size != 1 or stored_scale is None:
        return
    if not _is_symmetric_per_output_channel(node, weight):
        return
    weight_scale = np.broadcast_to(stored_scale, bias.shape).astype(np.float32)
    integers, fitting_scale = integer_bias(
        bias.astype(np.float32), float(input_scale.reshape(())), weight_scale
    )
    if not np.array_equal(fitting_scale, weight_scale):
        weight = _rescale_weight(graph, node, weight, weight_scale, fitting_scale)
    # The step is stated, not stored: it is folded when the file is loaded, and a quarter of what
    # a channel needs beside its weights is saved.
    step = ir.node("Mul", [operand.inputs[1], weight.inputs[1]])
    dequantize = ir.node(
        "DequantizeLinear",
        [add_constant(graph, integers, "bias"), step.outputs[0]],
        attributes={"axis": 0},
    )
    graph.insert_before(node, [step, dequantize])
    node.replace_input_with(2, dequantize.outputs[0])


def _output_channel_axis(node: ir.Node) -> int:
    return 1 if node.op_type == "Gemm" and not integer_attribute(node, "transB", 0) else 0


def _is_symmetric_per_output_channel(node: ir.Node, weight: ir.Node) -> bool:
    scale, zero_point = constant_of(weight.inputs[1]), constant_of(input_of(weight, 2))
    integers = constant_of(weight.inputs[0])
    if scale is None or integers is None or (zero_point is not None and np.any(zero_point)):
        return False
    axis = integer_attribute(weight, "axis", 1) % integers.ndim
    return scale.ndim == 0 or axis == _output_channel_axis(node)


def _rescale_weight(
    graph: ir.Graph,
    node: ir.Node,
    weight: ir.Node,
    old_scale: NDArray[np.float32],
    new_scale: NDArray[np.float32],
) -> ir.Node:
    """Gives ``node`` its weight in coarser steps: there they are small beside the bias."""
    integers = constant_of(weight.inputs[0])
    assert integers is not None
    axis = _output_channel_axis(node)
    shape = [-1 if dimension == axis else 1 for dimension in range(integers.ndim)]
    coarser = np.rint(integers * (old_scale / new_scale).reshape(shape)).astype(integers.dtype)
    inputs = [
        add_constant(graph, coarser, "weight"),
        add_constant(graph, new_scale, "scale"),
        add_constant(graph, np.zeros(new_scale.shape, integers.dtype), "zero_point"),
    ]
    rescaled = ir.node("DequantizeLinear", inputs, attributes={"axis": axis})
    graph.insert_before(node, rescaled)
    node.replace_input_with(1, rescaled.outputs[0])
    return rescaled
