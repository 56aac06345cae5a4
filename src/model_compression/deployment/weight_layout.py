"""Stores quantized weights the way round that their operator reads them.

Knows graphs only. The exporter writes a linear layer over sequences as ``MatMul`` by a transposed
weight; ONNX Runtime takes an integer kernel only where the weight comes straight from its bytes.
"""

from typing import Any

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


def transpose_stored_weights(graph: ir.Graph) -> None:
    """Stores dequantized constants that are read through a ``Transpose`` transposed, in place."""
    for node in list(graph):
        dequantize = dequantized_from(node.inputs[0]) if node.op_type == "Transpose" else None
        integers = constant_of(dequantize.inputs[0]) if dequantize is not None else None
        if dequantize is not None and integers is not None:
            _replace(graph, node, dequantize, integers)
    drop_unused_constants(graph)


def _replace(
    graph: ir.Graph, transpose: ir.Node, dequantize: ir.Node, integers: NDArray[Any]
) -> None:
    order = transpose.attributes.get("perm")
    axes = tuple(range(integers.ndim))[::-1] if order is None else tuple(order.as_ints())
    transposed = add_constant(graph, integers.transpose(axes), "weight")
    axis = integer_attribute(dequantize, "axis", 1) % integers.ndim
    straight = ir.node(
        "DequantizeLinear",
        [transposed, dequantize.inputs[1], input_of(dequantize, 2)],
        attributes={"axis": axes.index(axis)},
    )
    graph.insert_before(transpose, straight)
    transpose.outputs[0].replace_all_uses_with(straight.outputs[0])
    graph.remove(transpose, safe=True)
    if not dequantize.outputs[0].uses():
        graph.remove(dequantize, safe=True)
