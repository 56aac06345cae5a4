"""Leaves nothing in an ONNX graph but what a runtime needs to compute it.

Knows graphs and names. The exporter writes a stack trace to every node, the shape of every tensor
and long names: half of a small int8 file.
"""

import ast
import itertools
import string
from collections.abc import Container, Iterator

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

from model_compression.deployment.graph_editing import (
    LAYER_OPS,
    constant_of,
    drop_unused_constants,
    stored_behind,
    unused_name,
)

_SCOPES = "pkg.torch.onnx.name_scopes"


def slim(model: ir.Model) -> None:
    """Drops the unused, the repeated and the descriptive, and gives short names, in place.

    The inputs' and outputs' names stay. The weight of a layer is named after the layer's place in
    the PyTorch module, such as ``layers.0.conv1``, so that messages can speak of it.
    """
    RemoveUnusedNodesPass()(model)
    layers = layer_names(model.graph)
    _share_equal_constants(model.graph, layers)
    drop_unused_constants(model.graph)
    ClearMetadataAndDocStringPass()(model)
    model.functions.clear()
    RemoveUnusedOpsetsPass()(model)
    _rename(model.graph, layers)
    _drop_shapes(model.graph)
    _drop_default_attributes(model.graph)


def layer_names(graph: ir.Graph) -> dict[ir.Value, str]:
    """A name for the weight of every layer: its module's path where the exporter still knows it."""
    names: dict[ir.Value, str] = {}
    for node in graph:
        weight = stored_behind(node.inputs[1]) if node.op_type in LAYER_OPS else None
        if weight is not None and weight not in names:
            names[weight] = unused_name(_module_path(node, weight), names.values())
    return names


def _share_equal_constants(graph: ir.Graph, layers: Container[ir.Value]) -> None:
    """Stores scales, zero points and the like once; every layer keeps a weight of its own."""
    first: dict[tuple[object, ...], ir.Value] = {}
    for value in graph.initializers.values():
        array = constant_of(value)
        if array is not None and value not in layers and not value.is_graph_output():
            shared = first.setdefault((array.dtype, array.shape, array.tobytes()), value)
            if shared is not value:
                value.replace_all_uses_with(shared)


def _module_path(node: ir.Node, weight: ir.Value) -> str:
    if weight.name is not None and weight.name.endswith(".weight"):
        return weight.name.removesuffix(".weight")
    scopes: list[str] = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    # The last scope is the operator's own, the first the whole network's.
    paths = [scope for scope in scopes[:-1] if scope]
    return paths[-1] if paths else node.op_type.lower()


def _rename(graph: ir.Graph, layers: dict[ir.Value, str]) -> None:
    kept = {value.name for value in (*graph.inputs, *graph.outputs)} | set(layers.values())
    constants = [value for value in graph.initializers.values() if value not in layers]
    tensors = [out for node in graph for out in node.outputs if not out.is_graph_output()]
    short = (name for name in _short_names() if name not in kept)
    names = layers | dict(zip((*constants, *tensors), short, strict=False))
    ir.convenience.rename_values(list(names), list(names.values()))
    for node in graph:
        node.name = None


def _short_names() -> Iterator[str]:
    """All words of small letters, the short ones first: a, b, ..., z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _drop_shapes(graph: ir.Graph) -> None:
    computed = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        value.metadata_props.clear()
        if not value.is_graph_input() and not value.is_graph_output():
            value.shape = value.type = None


def _drop_default_attributes(graph: ir.Graph) -> None:
    for node in graph:
        version = graph.opset_imports[node.domain]
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        for name, attribute in list(node.attributes.items()):
            default = onnx.AttributeProto()
            default.CopyFrom(schema.attributes[name].default_value)
            default.name = name
            if ir.to_proto(attribute) == default or _is_neutral(node, name):
                del node.attributes[name]


def _is_neutral(node: ir.Node, name: str) -> bool:
    """Whether a convolution's attribute says what the operator's text gives as its default."""
    if node.op_type == "Conv" and name == "kernel_shape":
        return stored_behind(node.inputs[1]) is not None
    neutral = {"dilations": 1, "strides": 1, "pads": 0}.get(name)
    if node.op_type != "Conv" or neutral is None:
        return False
    return all(value == neutral for value in node.attributes[name].as_ints())
