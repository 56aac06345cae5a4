"""The file that is deployed: made, run, checked, weighed and timed."""

from model_compression.deployment.export import export_onnx
from model_compression.deployment.fusion import (
    FusionError,
    FusionReport,
    depends_on_batch,
    fusion_report,
    require_fused,
)
from model_compression.deployment.graph_cost import GraphCost, graph_cost
from model_compression.deployment.latency import measure_latency
from model_compression.deployment.narrow_weights import widen_weights
from model_compression.deployment.onnx_model import (
    OnnxModel,
    OnnxModelError,
    read_onnx,
    write_onnx,
)
from model_compression.deployment.packing import PackingError, pack, packed_size, unpack
from model_compression.deployment.parity import Parity, compare_logits
from model_compression.deployment.runtime import OnnxRuntimeClassifier

__all__ = [
    "FusionError",
    "FusionReport",
    "GraphCost",
    "OnnxModel",
    "OnnxModelError",
    "OnnxRuntimeClassifier",
    "PackingError",
    "Parity",
    "compare_logits",
    "depends_on_batch",
    "export_onnx",
    "fusion_report",
    "graph_cost",
    "measure_latency",
    "pack",
    "packed_size",
    "read_onnx",
    "require_fused",
    "unpack",
    "widen_weights",
    "write_onnx",
]
