import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_compression.deployment import (
    FusionError,
    FusionReport,
    OnnxModel,
    fusion_report,
    require_fused,
)


def with_a_float_bias(model: OnnxModel) -> OnnxModel:
    """The file as it would be if the Gemm's bias had been left in float."""
    proto = onnx.ModelProto.FromString(model.content)
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    bias = np.zeros(len(model.classes), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(bias, "float_bias"))
    gemm.input[2] = "float_bias"
    return OnnxModel(proto.SerializeToString())


def test_every_convolution_and_the_final_gemm_run_in_integers(int8_export):
    report = require_fused(int8_export.model)
    layers = [n for n in int8_export.model.proto.graph.node if n.op_type in ("Conv", "Gemm")]
    assert len(report.quantizable) == len(layers) == 10
    assert report.fused == report.quantizable
    assert report.unfused == ()


def test_a_float_file_has_nothing_to_fuse(float_export):
    assert (
        require_fused(float_export.model)
        == fusion_report(float_export.model)
        == FusionReport((), ())
    )


def test_a_layer_that_stays_in_float_is_named(int8_export):
    model = with_a_float_bias(int8_export.model)
    report = fusion_report(model)
    assert len(report.unfused) == 1
    assert len(report.fused) == len(report.quantizable) - 1
    with pytest.raises(FusionError, match=rf"it runs {report.unfused[0]} in float"):
        require_fused(model)
