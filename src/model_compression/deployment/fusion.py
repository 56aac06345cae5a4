"""Whether ONNX Runtime really computes the quantized layers in integers.

Knows the file and the graph that ONNX Runtime makes of it when it loads it. A layer that is not
fused runs in float between conversions: correct, and slower than before it was quantized.

A file whose weights only are quantized is meant to run in float: it is one without any quantized
activation, which is seen in the graph, and no fusion is asked of it.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_ir as ir

from model_compression.deployment.graph_editing import (
    LAYER_OPS,
    constant_of,
    stored_behind,
    undequantized,
)
from model_compression.deployment.onnx_model import OnnxModel
from model_compression.deployment.runtime import open_session

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
    """In a file with quantized activations and integer weights, every layer with a stored weight,
    also one left in float."""
    fused: tuple[str, ...]
    """Those of them that ONNX Runtime runs by an integer kernel."""
    weight_only: tuple[str, ...] = ()
    """In a file without quantized activations, the layers with integer weights: they run in float,
    as they are meant to."""

    @property
    def unfused(self) -> tuple[str, ...]:
        """Those that it runs in float."""
        return tuple(name for name in self.quantizable if name not in self.fused)


def fusion_report(model: OnnxModel) -> FusionReport:
    """Looks up each quantized layer in the graph that ONNX Runtime runs on this machine.

    A float file has no quantized layer.
    """
    layers = _layers(ir.from_proto(model.proto).graph)
    if not layers.quantized:
        return FusionReport((), ())
    if not layers.quantized_activations:
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
        name for name, read in layers.read_as.items() if readers.get(read, {""}) <= _INTEGER_OPS
    ]
    return FusionReport(tuple(layers.read_as), tuple(fused))


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


class _Layers(NamedTuple):
    """What a file's graph says of its layers, before a runtime sees it."""

    read_as: dict[str, str]
    """By the stored weights' names, those of the integers or floats that come of them."""
    quantized: tuple[str, ...]
    """The layers with integer weights."""
    quantized_activations: bool


def _layers(graph: ir.Graph) -> _Layers:
    read_as: dict[str, str] = {}
    quantized: dict[str, None] = {}
    for node in graph:
        if node.op_type in LAYER_OPS:
            weight, read = stored_behind(node.inputs[1]), undequantized(node.inputs[1])
            if weight is None or weight.name is None or read is None or read.name is None:
                continue
            read_as[weight.name] = read.name
            if read is not node.inputs[1]:
                quantized[weight.name] = None
    activations = any(
        node.op_type == "DequantizeLinear" and constant_of(node.inputs[0]) is None for node in graph
    )
    return _Layers(read_as, tuple(quantized), activations)
