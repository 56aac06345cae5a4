"""Stores the integer weights and biases of a graph in as few bits as their values need.

Knows graphs and values; how the weights came to have so few of them is the quantizer's business.

    values of a weight                    stored as      widened by
    -2 .. 1 (or 0 .. 3)                   INT2 (UINT2)   Cast
    -8 .. 7 (or 0 .. 15)                  INT4 (UINT4)   Cast
    at most 4 different ones              UINT2 places   Cast, Gather from a table of the values
    at most 16 different ones             UINT4 places   Cast, Gather from a table of the values
    others                                as they are    -

A bias of 32 bits is stored in 16 or 8 where its values fit, and widened by a ``Cast`` too.

A runtime folds the widening when it loads the file, so the weights run as the bytes that they were:
with the same kernels, to the same logits, from a file of a half or a quarter of the size. Four bits
need opset 21, two bits opset 25; a file without such weights keeps the opset that it has.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from model_compression.deployment.graph_editing import (
    LAYER_OPS,
    add_constant,
    constant_of,
    drop_unused_constants,
    stored_behind,
    undequantized,
)
from model_compression.deployment.onnx_model import OnnxModel

_WIDE = (np.dtype(np.int8), np.dtype(np.uint8))
_NARROW = {
    2: (25, ir.DataType.INT2, ir.DataType.UINT2),
    4: (21, ir.DataType.INT4, ir.DataType.UINT4),
}
"""By the bits, the first opset that has such integers, and they."""
_REDEFINED = "GroupNormalization"
"""Since opset 21 its scale and bias are per channel: a graph with it can't just be declared newer.
What else an exported graph may hold has only learned further types since opset 20."""
_CAST_BYTES, _GATHER_BYTES = 40, 110
"""What the widening costs in a file, generously; the second with a ``Cast`` and a table."""


class _Narrow(NamedTuple):
    """A weight or bias in fewer bits."""

    stored: NDArray[Any]
    opset: int
    """The oldest that has its type."""
    table: NDArray[Any] | None
    """The values that ``stored`` has the places of; None where it has the values themselves."""
    cost: int
    """About its bytes in a file."""


def narrow_weights(model: ir.Model) -> None:
    """Stores each integer weight and bias in the narrowest way that saves bytes, in place."""
    graph = model.graph
    if any(node.op_type == _REDEFINED for node in graph):
        return
    opset = graph.opset_imports[""]
    for stored in _integers(graph):
        array = constant_of(stored)
        assert array is not None
        narrow = _narrowest(array)
        if narrow is not None:
            _store(graph, stored, array.dtype, narrow)
            opset = max(opset, narrow.opset)
    _declare(model, opset)


def widen_weights(model: OnnxModel) -> OnnxModel:
    """The same file with its narrow weights as bytes, for runtimes that know no such types.

    It computes the same logits; a file without narrow weights comes back as it is.
    """
    parsed = ir.from_proto(model.proto)
    graph = parsed.graph
    names: dict[ir.Value, str | None] = {}
    for node in graph:
        if node.op_type not in LAYER_OPS:
            continue
        for operand in node.inputs[1:]:
            read, stored = undequantized(operand), stored_behind(operand)
            array = constant_of(read)
            if read is None or stored is None or stored is read or array is None:
                continue
            wide = add_constant(graph, array, "wide")
            names[wide] = stored.name
            read.replace_all_uses_with(wide)
    if not names:
        return model
    # A table is read by a node that reads what another one makes.
    for node in reversed(list(graph)):
        if node.op_type in ("Cast", "Gather") and not node.outputs[0].uses():
            graph.remove(node, safe=True)
    drop_unused_constants(graph)
    for wide, name in names.items():
        wide.name = name
    return OnnxModel(ir.to_proto(parsed).SerializeToString(deterministic=True))


def _integers(graph: ir.Graph) -> list[ir.Value]:
    """What layers' weights and biases are made of, each once, in the graph's order."""
    found: dict[ir.Value, None] = {}
    for node in graph:
        for operand in node.inputs[1:] if node.op_type in LAYER_OPS else ():
            stored = undequantized(operand)
            array = constant_of(stored) if stored is not None and stored.is_initializer() else None
            if stored is not None and array is not None and array.dtype in (*_WIDE, np.int32):
                found[stored] = None
    return list(found)


def _narrowest(array: NDArray[Any]) -> _Narrow | None:
    """The narrowest way that costs fewer bytes than the weight as it is; None where none does."""
    ways = [narrow for narrow in _ways(array) if narrow.cost < array.nbytes]
    return min(ways, key=lambda narrow: narrow.cost, default=None)


def _ways(array: NDArray[Any]) -> Iterator[_Narrow]:
    if array.dtype not in _WIDE:
        yield from _shorter(array)
        return
    signed = array.dtype == np.int8
    values, places = np.unique(array, return_inverse=True)
    for bits, (opset, signed_type, unsigned_type) in _NARROW.items():
        size = -(-array.size * bits // 8)
        lowest = -(1 << bits - 1) if signed else 0
        if len(values) and lowest <= values[0] and values[-1] < lowest + (1 << bits):
            dtype = signed_type if signed else unsigned_type
            yield _Narrow(array.astype(dtype.numpy()), opset, None, size + _CAST_BYTES)
        elif len(values) <= 1 << bits:
            stored = places.reshape(array.shape).astype(unsigned_type.numpy())
            yield _Narrow(stored, opset, values, size + _GATHER_BYTES)


def _shorter(array: NDArray[Any]) -> Iterator[_Narrow]:
    """A bias in fewer bytes."""
    for dtype in (np.int8, np.int16):
        stored = array.astype(dtype)
        if array.dtype == np.int32 and np.array_equal(stored, array):
            yield _Narrow(stored, 1, None, stored.nbytes + _CAST_BYTES)


def _store(graph: ir.Graph, weight: ir.Value, wide: np.dtype[Any], narrow: _Narrow) -> None:
    """Gives ``weight`` the narrow array, under its name, and its readers what it widens to."""
    readers = list(weight.uses())
    weight.const_value = ir.tensor(narrow.stored, name=weight.name)
    weight.dtype = weight.const_value.dtype
    if narrow.table is None:
        target = ir.DataType.from_numpy(wide)
        nodes = [ir.node("Cast", [weight], attributes={"to": target.value})]
    else:
        places = ir.node("Cast", [weight], attributes={"to": ir.DataType.INT32.value})
        table = add_constant(graph, narrow.table, "codebook")
        nodes = [places, ir.node("Gather", [table, places.outputs[0]])]
    graph.insert_before(graph[0], nodes)
    for reader, index in readers:
        reader.replace_input_with(index, nodes[-1].outputs[0])


def _declare(model: ir.Model, opset: int) -> None:
    model.graph.opset_imports[""] = opset
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model.ir_version = max(model.ir_version, oldest)
