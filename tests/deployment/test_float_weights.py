"""Integer weights that meet floats: widened once, when the file is loaded."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model_compression.deployment import (
    OnnxRuntimeClassifier,
    fusion_report,
    graph_cost,
    widen_weights,
)
from model_compression.deployment.runtime import open_session
from model_compression.quantization import WeightOnlySettings, convert, quantize_after_training


@pytest.fixture(scope="module", params=["channel", "tensor"])
def weight_only(request, float_module, export, normalization, images):
    settings = WeightOnlySettings(method="weight_only", weight_bits=4, sharing=request.param)
    batch = normalization.apply(torch.from_numpy(images[:64]))
    module = convert(quantize_after_training(float_module, (1, 12, 12), settings, [batch]))
    return module, export(module, stage="quantized")


def test_onnx_runtime_runs_the_very_graph_that_it_makes_of_the_float_file(
    weight_only, float_export, tmp_path
):
    def optimized(model, name):
        path = Path(tmp_path, name)
        open_session(model, 1, optimized_path=path)
        return Counter(node.op_type for node in onnx.load(path).graph.node)

    assert optimized(weight_only[1], "quantized") == optimized(float_export.model, "float")


def test_the_logits_are_the_modules(weight_only, images, normalization):
    module, model = weight_only
    with torch.no_grad():
        expected = module(normalization.apply(torch.from_numpy(images[:200]))).numpy()
    np.testing.assert_allclose(
        OnnxRuntimeClassifier(model).logits(images[:200]), expected, atol=1e-4
    )


def test_the_file_is_still_one_of_integers_that_are_counted_as_weights(weight_only, float_export):
    _, model = weight_only
    report, cost = fusion_report(model), graph_cost(model)
    assert len(report.weight_only) == 10
    assert report.quantizable == ()
    assert cost.parameters == graph_cost(float_export.model).parameters
    assert cost.macs == graph_cost(float_export.model).macs
    types = {tensor.name: tensor.data_type for tensor in model.proto.graph.initializer}
    assert {types[name] for name in report.weight_only} <= {
        onnx.TensorProto.INT4,
        onnx.TensorProto.INT8,  # a layer of so few weights that four bits save nothing
    }
    assert model.size < 0.5 * float_export.model.size


def test_widened_weights_give_the_very_same_logits(weight_only, images):
    _, model = weight_only
    wide = widen_weights(model)
    types = {tensor.data_type for tensor in wide.proto.graph.initializer}
    assert onnx.TensorProto.INT4 not in types
    np.testing.assert_array_equal(
        *(OnnxRuntimeClassifier(each).logits(images[:20]) for each in (model, wide))
    )
