import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from model_compression.deployment import OnnxRuntimeClassifier, for_openvino, fusion_report
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import QatSettings, calibrate, convert, prepare_qat


def int8(module, images, normalization, grid, **weights):
    settings = QatSettings(activation_grid=grid, **weights)
    prepared = prepare_qat(module, images.shape[1:], settings)
    calibrate(prepared, [normalization.apply(torch.from_numpy(images))])
    return convert(prepared)


def zero_points(model):
    """Of the activations: what QuantizeLinear makes, and how the images are read."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.proto.graph.initializer}
    found = []
    for node in model.proto.graph.node:
        if node.op_type == "QuantizeLinear" or "images" in node.input:
            zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
            found.append((node.op_type, zero_point))
    return found


FEW_BITS = (TensorProto.INT2, TensorProto.UINT2, TensorProto.INT4, TensorProto.UINT4)


@pytest.mark.parametrize(
    ("grid", "weights"),
    [
        ("affine", {}),
        ("symmetric", {}),
        ("affine", {"weight_bits": 2, "grid_steps": "learned"}),
        ("symmetric", {"weight_bits": 4, "grid_steps": "codebook"}),
    ],
)
def test_the_logits_are_bit_for_bit_those_of_the_file(
    float_module, images, normalization, export, grid, weights
):
    model = export(int8(float_module, images, normalization, grid, **weights))
    written = for_openvino(model)
    types = [
        {tensor.data_type for tensor in each.proto.graph.initializer} & set(FEW_BITS)
        for each in (model, written)
    ]
    assert bool(types[0]) == bool(weights)
    assert not types[1]
    assert written.content != model.content
    for batch in (images[:1], images[:200]):
        np.testing.assert_array_equal(
            OnnxRuntimeClassifier(written).logits(batch), OnnxRuntimeClassifier(model).logits(batch)
        )
    assert (written.classes, written.stage) == (model.classes, model.stage)


def test_a_file_of_symmetric_activations_has_no_zero_point_left(
    float_module, images, normalization, export
):
    model = export(int8(float_module, images, normalization, "symmetric"))
    assert len(fusion_report(model).fused) == 10
    before = {int(zero_point) for _, zero_point in zero_points(model) if zero_point is not None}
    assert {0, 128} < before
    after = zero_points(for_openvino(model))
    quantized = [zero_point for kind, zero_point in after if kind == "QuantizeLinear"]
    assert {int(zero_point) for zero_point in quantized} == {0}
    assert {zero_point.dtype for zero_point in quantized} == {np.dtype("u1"), np.dtype("i1")}
    # The images are padded with what stands for 0, and read without a zero point.
    assert [kind for kind, _ in after if kind != "QuantizeLinear"] == ["Pad"]


def test_affine_activations_stay_unsigned(int8_export):
    written = for_openvino(int8_export.model)
    quantized = [point for kind, point in zero_points(written) if kind == "QuantizeLinear"]
    assert {point.dtype for point in quantized} == {np.dtype("u1")}
    assert any(point > 0 for point in quantized)


def test_a_float_file_stays_as_it_is(float_export):
    assert for_openvino(float_export.model) is float_export.model


def test_channels_with_means_of_their_own_are_normalised_in_floats_as_before(images, export):
    """Such images do not go into the first layer as bytes."""
    coloured = np.repeat(images[:64], 3, axis=1)
    normalization = Normalization(mean=(0.4, 0.5, 0.3), std=(0.25, 0.2, 0.3))
    settings = ModelSettings(name="resnet8", options={"width": 4})
    module = build_model(settings.spec((3, 12, 12), 3)).eval()
    model = export(
        int8(module, coloured, normalization, "symmetric"),
        input_shape=(3, 12, 12),
        normalization=normalization,
    )
    written = for_openvino(model)
    assert "Pad" not in {node.op_type for node in written.proto.graph.node}
    np.testing.assert_array_equal(
        OnnxRuntimeClassifier(written).logits(coloured),
        OnnxRuntimeClassifier(model).logits(coloured),
    )


def test_a_first_layer_without_padding_keeps_none(images, normalization, export):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).eval()
    model = export(int8(module, images, normalization, "affine"))
    written = for_openvino(model)
    assert "Pad" not in {node.op_type for node in written.proto.graph.node}
    assert [point for kind, point in zero_points(written) if kind == "DequantizeLinear"] == [0]
    np.testing.assert_array_equal(
        OnnxRuntimeClassifier(written).logits(images[:200]),
        OnnxRuntimeClassifier(model).logits(images[:200]),
    )
    onnx.checker.check_model(written.proto)
