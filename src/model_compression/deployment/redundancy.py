"""Drops what a quantized graph says twice.

Knows the arithmetic of QDQ graphs, which stays as it is: ONNX Runtime gives the same logits to the
last bit. OpenVINO, whose rounding depends on what it fuses, may come out a step apart.

* A ``Relu`` in front of a ``QuantizeLinear`` whose zero point is the least number that its type
  has: what is below zero is clipped to just that number there.
* A zero point of a convolution's weight or bias that is 0 throughout: ONNX takes 0 if there is
  none. The others stay: without them ONNX Runtime 1.32 leaves a ``Gemm`` in float.
"""

import numpy as np
import onnx_ir as ir

from model_compression.deployment.graph_editing import (
    constant_of,
    drop_unused_constants,
    input_of,
)


def drop_redundant(graph: ir.Graph) -> None:
    """Removes nodes and inputs that change no number of a quantized graph, in place."""
    for node in list(graph):
        rectified = node.inputs[0] if node.op_type == "Relu" else None
        if rectified is not None and _is_clipped_anyway(node.outputs[0]):
            node.outputs[0].replace_all_uses_with(rectified)
            graph.remove(node, safe=True)
    for node in graph:
        if _has_needless_zero_point(node):
            node.resize_inputs(2)
    drop_unused_constants(graph)


def _is_clipped_anyway(value: ir.Value) -> bool:
    """Whether all that reads ``value`` makes the same of everything below zero."""
    readers = value.consumers()
    return bool(readers) and not value.is_graph_output() and all(map(_starts_at_zero, readers))


def _starts_at_zero(node: ir.Node) -> bool:
    if node.op_type != "QuantizeLinear":
        return False
    zero_point = constant_of(input_of(node, 2))
    if zero_point is None:
        return input_of(node, 2) is None and "output_dtype" not in node.attributes
    is_integer = np.issubdtype(zero_point.dtype, np.integer)
    return is_integer and bool(np.all(zero_point == np.iinfo(zero_point.dtype).min))


def _has_needless_zero_point(node: ir.Node) -> bool:
    if node.op_type != "DequantizeLinear" or constant_of(node.inputs[0]) is None:
        return False
    zero_point = constant_of(input_of(node, 2))
    readers = {reader.op_type for reader in node.outputs[0].consumers()}
    return zero_point is not None and not np.any(zero_point) and readers == {"Conv"}
