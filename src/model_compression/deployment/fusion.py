"""Whether ONNX Runtime really computes the quantized layers in integers.

Knows the file and the graph that ONNX Runtime makes of it when it loads it. A layer that is not
fused runs in float between conversions: correct, and slower than before it was quantized.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_ir as ir

from model_compression.deployment.graph_editing import LAYER_OPS, stored_behind
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
    """In a file with integer weights, every layer with a stored weight, also one left in float."""
    fused: tuple[str, ...]
    """Those of them that ONNX Runtime runs by an integer kernel."""

    @property
    def unfused(self) -> tuple[str, ...]:
        """Those that it runs in float."""
        return tuple(name for name in self.quantizable if name not in self.fused)


def fusion_report(model: OnnxModel) -> FusionReport:
    """Looks up each quantized layer in the graph that ONNX Runtime runs on this machine.

    A float file has no quantized layer.
    """
    quantizable = _quantizable_weights(model.proto)
    if not quantizable:
        return FusionReport((), ())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optimized.onnx")
        open_session(model, threads=1, optimized_path=path)
        optimized = onnx.load(path)
    readers: dict[str, set[str]] = {}
    for node in optimized.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    fused = [name for name in quantizable if readers.get(name) and readers[name] <= _INTEGER_OPS]
    return FusionReport(quantizable, tuple(fused))


def require_fused(model: OnnxModel) -> FusionReport:
    """The report, if ONNX Runtime runs every quantized layer in integers.

    Raises:
        FusionError: If not; names the layers.
    """
    report = fusion_report(model)
    if report.unfused:
        raise FusionError(
            f"Expected ONNX Runtime to run all {len(report.quantizable)} quantized layers of "
            f"{model.stage!r} in integers; it runs {', '.join(report.unfused)} in float. Quantize "
            "the input and the output of these layers too (unsigned 8-bit activations, signed "
            "8-bit weights), or leave them out of the quantization."
        )
    return report


def _quantizable_weights(proto: onnx.ModelProto) -> tuple[str, ...]:
    names: dict[str, bool] = {}
    for node in ir.from_proto(proto).graph:
        if node.op_type in LAYER_OPS:
            weight = stored_behind(node.inputs[1])
            if weight is not None and weight.name is not None:
                names[weight.name] = weight is not node.inputs[1]
    return tuple(names) if any(names.values()) else ()
