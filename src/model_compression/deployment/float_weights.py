"""Writes the integer weights of layers that compute in floats so that they are widened only once.

    DequantizeLinear (q, s)    ->    Mul (Cast (q), s)

Knows graphs; which layers compute in floats is seen in them. ONNX Runtime folds constants when it
loads a file, but never a ``DequantizeLinear``, which it keeps for its integer kernels: a
convolution behind one has its weight widened anew by every inference, and no kernel of a blocked
layout. Measured on a ResNet-8 at batch 64, one thread: twice the time of the float file; with the
weight folded, the float file's time.
"""

import numpy as np
import onnx_ir as ir

from model_compression.deployment.graph_editing import (
    LAYER_OPS,
    add_constant,
    constant_of,
    dequantized_from,
    drop_unused_constants,
    input_of,
    integer_attribute,
)


def write_foldable_weights(graph: ir.Graph) -> None:
    """Writes each weight that meets floats as an integer times a step, in place."""
    for node in list(graph):
        if node.op_type in LAYER_OPS and dequantized_from(node.inputs[0]) is None:
            dequantize = dequantized_from(node.inputs[1])
            if dequantize is not None:
                _replace(graph, dequantize)
    drop_unused_constants(graph)


def _replace(graph: ir.Graph, dequantize: ir.Node) -> None:
    integers, scale = (constant_of(value) for value in dequantize.inputs[:2])
    zero_point = constant_of(input_of(dequantize, 2))
    if integers is None or scale is None or (zero_point is not None and np.any(zero_point)):
        return
    if scale.ndim:
        axis = integer_attribute(dequantize, "axis", 1) % integers.ndim
        scale = scale.reshape([-1 if each == axis else 1 for each in range(integers.ndim)])
    floats = ir.node("Cast", dequantize.inputs[:1], attributes={"to": ir.DataType.FLOAT.value})
    product = ir.node("Mul", [floats.outputs[0], add_constant(graph, scale, "scale")])
    ir.convenience.replace_nodes_and_values(
        graph,
        dequantize,
        [dequantize],
        [floats, product],
        dequantize.outputs,
        product.outputs,
    )
