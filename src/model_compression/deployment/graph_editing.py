"""The few looks at and moves on an ONNX graph that this room shares.

Knows nodes, values and constants; what is made of them is its callers' business.
"""

import itertools
from collections.abc import Container
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger")
"""The operators that multiply with a learned weight, their second input."""

DYNAMIC_OP = "DynamicQuantizeLinear"
"""The operator that quantizes a tensor by its own range, and gives the range's scale too."""

_WIDENING = {"Cast": 0, "Gather": 1}
"""The operators that make integers of stored ones of fewer bits, with the input that has these."""


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array that ``value`` always holds; None where it is computed from inputs, or absent.

    What a ``Cast`` or a ``Gather`` makes of a stored array is seen too: so are narrow weights read.
    """
    if value is None:
        return None
    if value.const_value is not None:
        return np.asarray(value.const_value.numpy())
    maker = value.producer()
    if maker is None or maker.op_type not in _WIDENING:
        return None
    arrays = [array for each in maker.inputs if (array := constant_of(each)) is not None]
    if len(arrays) < len(maker.inputs):
        return None
    if maker.op_type == "Gather":
        return np.take(arrays[0], arrays[1], axis=integer_attribute(maker, "axis", 0))
    return arrays[0].astype(ir.DataType(maker.attributes["to"].as_int()).numpy())


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """The node's input of that index, or None where an optional one is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def dequantized_from(value: ir.Value | None) -> ir.Node | None:
    """The ``DequantizeLinear`` that computes ``value``, or None where something else does."""
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def dynamically_quantized(value: ir.Value | None) -> ir.Node | None:
    """The ``DynamicQuantizeLinear`` that computes ``value``; None where something else does."""
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == DYNAMIC_OP else None


def undequantized(value: ir.Value | None) -> ir.Value | None:
    """What ``value`` is dequantized from, or ``value`` where it is not dequantized.

    Integers of a stored weight that are cast and multiplied by their step are dequantized too.
    """
    dequantize = dequantized_from(value)
    if dequantize is not None:
        return dequantize.inputs[0]
    integers = _scaled_from(value)
    return value if integers is None else integers


def _scaled_from(value: ir.Value | None) -> ir.Value | None:
    """The stored integers that ``value`` is a product of, cast, with a stored step."""
    multiply = value.producer() if value is not None else None
    if multiply is None or multiply.op_type != "Mul" or constant_of(multiply.inputs[1]) is None:
        return None
    floats = multiply.inputs[0]
    cast = floats.producer() if floats is not None else None
    if cast is None or cast.op_type != "Cast":
        return None
    integers = constant_of(cast.inputs[0])
    is_integer = integers is not None and np.issubdtype(integers.dtype, np.integer)
    return cast.inputs[0] if is_integer else None


def stored_behind(value: ir.Value | None) -> ir.Value | None:
    """The initialiser that ``value`` is, or is dequantized from; None where there is none.

    A weight of few bits is behind the ``Cast`` or the ``Gather`` that widens it.
    """
    stored = undequantized(value)
    if stored is None or constant_of(stored) is None:
        return None
    while (maker := stored.producer()) is not None and maker.op_type in _WIDENING:
        stored = maker.inputs[_WIDENING[maker.op_type]]
        assert stored is not None
    return stored if stored.is_initializer() else None


def add_constant(graph: ir.Graph, array: NDArray[np.generic], hint: str) -> ir.Value:
    """Registers ``array`` as an initialiser under a free name that begins with ``hint``."""
    # NumPy's ascontiguousarray would make a vector of a scalar.
    tensor = ir.tensor(np.asarray(array, order="C"))
    name = unused_name(hint, graph.initializers)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def drop_unused_constants(graph: ir.Graph) -> None:
    """Removes the initialisers that no node reads."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def unused_name(wanted: str, taken: Container[str]) -> str:
    """``wanted``, or with the first number from 2 that makes it differ from all of ``taken``."""
    names = (wanted if count == 1 else f"{wanted}_{count}" for count in itertools.count(1))
    return next(name for name in names if name not in taken)


def integer_attribute(node: ir.Node, name: str, default: int) -> int:
    """A node's integer attribute, or ``default`` where it has none."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
