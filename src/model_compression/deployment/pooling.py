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
    if integer_attribute(node, "keepdims", 1):
        _take_the_place_of(mean, pool.outputs[0])
    elif (quantize := _only_quantizer(mean)) is not None:
        quantize.replace_input_with(0, pool.outputs[0])
        flatten = ir.node("Flatten", [quantize.outputs[0]])
        _take_the_place_of(quantize.outputs[0], flatten.outputs[0])
        graph.insert_after(quantize, flatten)
    else:
        flatten = ir.node("Flatten", [pool.outputs[0]])
        graph.insert_before(node, flatten)
        _take_the_place_of(mean, flatten.outputs[0])
    graph.remove(node, safe=True)


def _only_quantizer(mean: ir.Value) -> ir.Node | None:
    readers = mean.consumers()
    alone = len(readers) == 1 and not mean.is_graph_output()
    return readers[0] if alone and readers[0].op_type == "QuantizeLinear" else None


def _take_the_place_of(old: ir.Value, new: ir.Value) -> None:
    """Lets all who read ``old``, except the node that makes ``new`` of it, read ``new``."""
    graph = old.graph
    if graph is not None and old.is_graph_output():
        graph.outputs[graph.outputs.index(old)] = new
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.name = None
    for reader, index in list(old.uses()):
        if reader is not new.producer():
            reader.replace_input_with(index, new)
