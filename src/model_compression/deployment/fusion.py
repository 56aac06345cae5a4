"""Whether ONNX Runtime really computes the quantized layers in integers.

Knows the file and the graph that ONNX Runtime makes of it when it loads it. A layer that is not
fused runs in float between conversions: correct, and slower than before it was quantized.

What is asked of a file is seen in its graph:

* where activations have stored scales, every layer is to run in integers;
* where they are quantized by their own range, every linear layer is, and convolutions run in float;
* without any quantized activation, weights alone are quantized, and every layer runs in float.
"""

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_ir as ir

from model_compression.deployment.graph_editing import (
    DYNAMIC_OP,
    LAYER_OPS,
    constant_of,
    dynamically_quantized,
    stored_behind,
    undequantized,
)
from model_compression.deployment.onnx_model import OnnxModel
from model_compression.deployment.runtime import open_session

_LINEAR_OPS = {"Gemm", "MatMul", "MatMulInteger"}
_INTEGER_OPS = {
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
}


class FusionError(ValueError):
    """A quantized layer that ONNX Runtime would run in float."""


class FusionReport(NamedTuple):
    """The layers of a quantized file, by their weights' names, in the graph's order."""

    quantizable: tuple[str, ...]
    """In a file with quantized activations and integer weights, every layer with a stored weight
    that is meant to read them, also one left in float."""
    fused: tuple[str, ...]
    """Those of them that ONNX Runtime runs by an integer kernel."""
    weight_only: tuple[str, ...] = ()
    """The layers with integer weights that are meant to run in float."""

    @property
    def unfused(self) -> tuple[str, ...]:
        """Those that it runs in float."""
        return tuple(name for name in self.quantizable if name not in self.fused)


def fusion_report(model: OnnxModel) -> FusionReport:
    """Looks up each quantized layer in the graph that ONNX Runtime runs on this machine.

    A float file has no quantized layer.
    """
    layers = _layers(ir.from_proto(model.proto).graph)
    if not layers.reads_integers:
        return FusionReport((), (), layers.quantized)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optimized.onnx")
        open_session(model, threads=1, optimized_path=path)
        optimized = onnx.load(path)
    readers: dict[str, set[str]] = {}
    for node in optimized.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    # Once it is folded, what a weight is widened to keeps the name of what computed it.
    fused = [
        name
        for name in layers.reads_integers
        if readers.get(layers.read_as[name], {""}) <= _INTEGER_OPS
    ]
    weight_only = [name for name in layers.quantized if name not in layers.reads_integers]
    return FusionReport(layers.reads_integers, tuple(fused), tuple(weight_only))


def require_fused(model: OnnxModel, besides: Collection[str] = ()) -> FusionReport:
    """The report, if ONNX Runtime runs every quantized layer in integers.

    Args:
        model: The file.
        besides: Names of layers that were left in float on purpose.

    Raises:
        FusionError: If another layer runs in float; names the layers.
    """
    report = fusion_report(model)
    unfused = [name for name in report.unfused if name not in besides]
    if unfused:
        raise FusionError(
            f"Expected ONNX Runtime to run all {len(set(report.quantizable) - set(besides))} "
            f"quantized layers of {model.stage!r} in integers; it runs {', '.join(unfused)} in "
            "float. Quantize the input and the output of these layers too (unsigned 8-bit "
            "activations, signed 8-bit weights), or leave them in float and say so."
        )
    return report


def depends_on_batch(model: OnnxModel) -> bool:
    """Whether an image's logits depend on which images it is asked about with.

    A file that quantizes activations by their own range takes it over all images of a batch.
    """
    return any(node.op_type == DYNAMIC_OP for node in model.proto.graph.node)


class _Layers(NamedTuple):
    """What a file's graph says of its layers, before a runtime sees it."""

    read_as: dict[str, str]
    """By the stored weights' names, those of the integers or floats that come of them."""
    quantized: tuple[str, ...]
    """The layers with integer weights."""
    reads_integers: tuple[str, ...]
    """The layers that are meant to run in integers, and those of their kind in float."""


def _layers(graph: ir.Graph) -> _Layers:
    read_as: dict[str, str] = {}
    quantized: dict[str, None] = {}
    linear: dict[str, None] = {}
    for node in graph:
        if node.op_type in LAYER_OPS:
            weight, read = stored_behind(node.inputs[1]), undequantized(node.inputs[1])
            if weight is None or weight.name is None or read is None or read.name is None:
                continue
            read_as[weight.name] = read.name
            if read is not node.inputs[1] or node.op_type == "MatMulInteger":
                quantized[weight.name] = None
            if node.op_type in _LINEAR_OPS:
                linear[weight.name] = None
    reads_integers: Iterable[str] = ()
    if quantized and any(_has_stored_scale(node) for node in graph):
        reads_integers = read_as
    elif quantized and any(node.op_type == DYNAMIC_OP for node in graph):
        reads_integers = linear
    return _Layers(read_as, tuple(quantized), tuple(reads_integers))


def _has_stored_scale(node: ir.Node) -> bool:
    """Whether a node dequantizes activations whose range is known beforehand."""
    return (
        node.op_type == "DequantizeLinear"
        and constant_of(node.inputs[0]) is None
        and dynamically_quantized(node.inputs[0]) is None
    )
