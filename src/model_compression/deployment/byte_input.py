"""Lets a graph that expects normalised images take their bytes instead.

Knows graphs and a normalisation; how a network goes on from there is the network's business.
"""

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from model_compression.deployment.graph_editing import add_constant, constant_of, input_of
from model_compression.images import Normalization

_BYTES = 256
_PREFIX = ("Cast", "Mul", "Add")


def take_bytes(graph: ir.Graph, normalization: Normalization) -> None:
    """Makes the graph's first input uint8 and normalises it inside the graph, in place.

    A float network gets ``Cast -> Mul -> Add``. In a quantized network the normalisation is
    followed by the input's own quantization; where the two together give every byte back as it
    came, both are left out and the bytes go straight into the first integer kernel.
    """
    images = graph.inputs[0]
    readers = list(images.uses())
    for reader, _ in readers:
        if _gives_bytes_back(reader, normalization):
            reader.outputs[0].replace_all_uses_with(images)
            graph.remove(reader, safe=True)
    images.dtype = ir.DataType.UINT8
    left = [(reader, index) for reader, index in readers if reader.graph is graph]
    if left:
        normalised = _normalise(graph, images, normalization)
        for reader, index in left:
            reader.replace_input_with(index, normalised)


def normalising_nodes(graph: ir.Graph) -> list[ir.Node]:
    """The nodes that ``take_bytes`` has put at the front of ``graph``; none where bytes go in."""
    nodes: list[ir.Node] = []
    value = graph.inputs[0]
    for operator in _PREFIX:
        readers = [node for node in value.consumers() if node.op_type == operator]
        if len(readers) != 1:
            return []
        nodes.append(readers[0])
        value = readers[0].outputs[0]
    return nodes


def _gives_bytes_back(reader: ir.Node, normalization: Normalization) -> bool:
    if reader.op_type != "QuantizeLinear":
        return False
    scale, zero_point = constant_of(reader.inputs[1]), constant_of(input_of(reader, 2))
    if scale is None or zero_point is None or scale.size != 1 or zero_point.dtype != np.uint8:
        return False
    every_byte = torch.arange(_BYTES, dtype=torch.uint8)
    channels = len(normalization.mean)
    normalised = normalization.apply(every_byte.view(-1, 1, 1, 1).expand(-1, channels, 1, 1))
    steps = np.rint(normalised.numpy() / scale.reshape(())) + zero_point.reshape(()).astype(int)
    return bool(np.all(np.clip(steps, 0, _BYTES - 1) == every_byte.view(-1, 1, 1, 1).numpy()))


def _normalise(graph: ir.Graph, images: ir.Value, normalization: Normalization) -> ir.Value:
    mean, std = np.array(normalization.mean), np.array(normalization.std)
    factor, offset = 1 / (255 * std), -mean / std
    cast = ir.node("Cast", [images], attributes={"to": ir.DataType.FLOAT.value})
    scaled = ir.node("Mul", [cast.outputs[0], _per_channel(graph, factor, "normalise_factor")])
    shifted = ir.node("Add", [scaled.outputs[0], _per_channel(graph, offset, "normalise_offset")])
    graph.insert_before(graph[0], [cast, scaled, shifted])
    return shifted.outputs[0]


def _per_channel(graph: ir.Graph, values: NDArray[np.float64], hint: str) -> ir.Value:
    return add_constant(graph, values.astype(np.float32).reshape(-1, 1, 1), hint)
