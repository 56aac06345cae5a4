"""The file that is deployed: made, run, checked, weighed and timed.

What makes and takes apart graphs is imported when it is used: its tools take a second.
"""

from typing import TYPE_CHECKING

from model_compression.deployment.latency import measure_latency
from model_compression.deployment.onnx_model import (
    OnnxModel,
    OnnxModelError,
    read_onnx,
    write_onnx,
)
from model_compression.deployment.parity import Parity, compare_logits
from model_compression.deployment.runtime import OnnxRuntimeClassifier
from model_compression.lazy import offered_by

if TYPE_CHECKING:
    from model_compression.deployment.export import export_onnx
    from model_compression.deployment.fusion import (
        FusionError,
        FusionReport,
        depends_on_batch,
        fusion_report,
        require_fused,
    )
    from model_compression.deployment.graph_costs import GraphCost, graph_cost
    from model_compression.deployment.narrow_weights import widen_weights
    from model_compression.deployment.openvino_form import for_openvino
    from model_compression.deployment.packing import PackingError, pack, packed_size, unpack
else:
    __getattr__ = offered_by(
        __name__,
        {
            "export": ("export_onnx",),
            "fusion": (
                *("FusionError", "FusionReport"),
                *("depends_on_batch", "fusion_report", "require_fused"),
            ),
            "graph_costs": ("GraphCost", "graph_cost"),
            "narrow_weights": ("widen_weights",),
            "openvino_form": ("for_openvino",),
            "packing": ("PackingError", "pack", "packed_size", "unpack"),
        },
    )

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
    "for_openvino",
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
