"""What the network in a file costs: parameters and multiply-accumulates.

Knows graphs, float and quantized alike; time is measured elsewhere.
"""

import math
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from model_compression.deployment.byte_input import normalising_nodes
from model_compression.deployment.graph_editing import (
    LAYER_OPS,
    constant_of,
    dequantized_from,
    dynamically_quantized,
    input_of,
    integer_attribute,
    stored_behind,
    undequantized,
)
from model_compression.deployment.onnx_model import OnnxModel

_LEARNED_INPUTS = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (1,),
    "Mul": (0, 1),
    "PRelu": (1,),
}
"""Which inputs of an operator hold what training has learned."""


class GraphCost(NamedTuple):
    """The cost of a network, read off the file that computes it."""

    parameters: int
    """Weights and biases; batch norms that were folded into convolutions live on in their biases.
    Scales, zero points, shapes and the input's normalisation are none."""
    nonzero_parameters: int
    """Those of them that are not zero."""
    macs: int
    """Multiply-accumulates of convolutions and matrix products for one image."""


def graph_cost(model: OnnxModel) -> GraphCost:
    """Counts the parameters and the multiply-accumulates of a file.

    Raises:
        ValueError: If a layer's shape cannot be told from the graph.
    """
    graph = _with_shapes(model.proto).graph
    parameters, nonzero = _count_parameters(graph)
    return GraphCost(parameters, nonzero, sum(_macs(node) for node in graph))


def _with_shapes(proto: onnx.ModelProto) -> ir.Model:
    one_image = onnx.ModelProto()
    one_image.CopyFrom(proto)
    one_image.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    one_image.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    return ir.from_proto(onnx.shape_inference.infer_shapes(one_image, data_prop=True))


def _count_parameters(graph: ir.Graph) -> tuple[int, int]:
    skipped = set(normalising_nodes(graph))
    counted: dict[object, tuple[int, int]] = {}
    for node in graph:
        for index in _LEARNED_INPUTS.get(node.op_type, ()):
            value = input_of(node, index)
            learned = stored_behind(value)
            array = constant_of(undequantized(value)) if learned is not None else None
            if array is None or array.size == 1 or node in skipped or _is_of_scales(node):
                continue
            # A shared weight is one; vectors of equal content are stored once but learned apart.
            key = learned if array.ndim > 1 else (node, index)
            counted[key] = (array.size, _nonzero(value, array))
    return sum(size for size, _ in counted.values()), sum(count for _, count in counted.values())


def _is_of_scales(node: ir.Node) -> bool:
    """Whether a node multiplies a weight's scale by that of its layer's input, stored or not."""
    return node.op_type not in LAYER_OPS and all(
        stored_behind(value) is not None or dynamically_quantized(value) is not None
        for value in node.inputs
    )


def _nonzero(value: ir.Value | None, array: NDArray[np.generic]) -> int:
    dequantize = dequantized_from(value)
    zero_point = constant_of(input_of(dequantize, 2)) if dequantize is not None else None
    if dequantize is None or zero_point is None:
        return int(np.count_nonzero(array))
    axis = integer_attribute(dequantize, "axis", 1) % array.ndim
    shape = [-1 if dimension == axis else 1 for dimension in range(array.ndim)]
    return int(np.count_nonzero(array != zero_point.reshape(shape if zero_point.ndim else ())))


def _macs(node: ir.Node) -> int:
    if node.op_type not in LAYER_OPS:
        return 0
    weight, output = _shape(node, node.inputs[1]), _shape(node, node.outputs[0])
    if node.op_type == "Conv":
        return math.prod(weight) * math.prod(output[2:])
    if node.op_type == "ConvTranspose":
        return math.prod(weight) * math.prod(_shape(node, node.inputs[0])[2:])
    transposed = integer_attribute(node, "transB", 0)
    return math.prod(output) * (weight[-1] if transposed else weight[-2])


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    shape = value.shape if value is not None else None
    if shape is None or not all(isinstance(size, int) for size in shape):
        raise ValueError(
            f"The shape of a {node.op_type}'s operand cannot be told from the graph (got {shape}), "
            "so its multiply-accumulates cannot be counted."
        )
    return tuple(shape.numpy())
