"""Writes the mean over an image's rows and columns as ``GlobalAveragePool``.

Knows graphs only. ONNX Runtime has no integer kernel for ``ReduceMean`` and no blocked-layout one:
in an int8 network it makes a float island of it, in a float one it first reorders the tensor.
"""

import onnx_ir as ir

from model_compression.deployment.graph_editing import (
    constant_of,
    input_of,
    integer_attribute,
)

_IMAGE_RANK = 4


def write_global_pooling(graph: ir.Graph) -> None:
    """Replaces ``ReduceMean`` over the last two axes of an (N, C, H, W) tensor, in place.

    Where the mean drops these axes a ``Flatten`` follows; where it is quantized right after, the
    ``Flatten`` is put behind the ``QuantizeLinear``, so that it moves bytes.
    """
    for node in list(graph):
        if node.op_type == "ReduceMean" and _is_over_pixels(node):
            _replace(graph, node)


def _is_over_pixels(node: ir.Node) -> bool:
    pixels, axes = node.inputs[0], constant_of(input_of(node, 1))
    if pixels is None or pixels.shape is None or len(pixels.shape) != _IMAGE_RANK or axes is None:
        return False
    return sorted(int(axis) % _IMAGE_RANK for axis in axes.reshape(-1)) == [2, 3]


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    mean = node.outputs[0]
    pool = ir.node("GlobalAveragePool", [node.inputs[0]])
    graph.insert_before(node, pool)
    mean.replace_all_uses_with(pool.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if not integer_attribute(node, "keepdims", 1):
        _flatten_after(graph, _quantizer_of(pool) or pool)


def _quantizer_of(pool: ir.Node) -> ir.Node | None:
    consumers = pool.outputs[0].consumers()
    alone = len(consumers) == 1 and consumers[0].op_type == "QuantizeLinear"
    return consumers[0] if alone else None


def _flatten_after(graph: ir.Graph, node: ir.Node) -> None:
    pixels = node.outputs[0]
    flatten = ir.node("Flatten", [pixels])
    for consumer, index in list(pixels.uses()):
        consumer.replace_input_with(index, flatten.outputs[0])
    flatten.replace_input_with(0, pixels)
    graph.insert_after(node, flatten)
