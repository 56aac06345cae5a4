import json
import logging
import re
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from model_compression.deployment import (
    OnnxModelError,
    OnnxRuntimeClassifier,
    compare_logits,
)
from model_compression.images import Normalization


def operators(model) -> Counter:
    return Counter(node.op_type for node in model.proto.graph.node)


def test_the_file_classifies_as_its_module_does(exported, images, normalization):
    with torch.no_grad():
        expected = exported.module(normalization.apply(torch.from_numpy(images))).numpy()
    parity = compare_logits(OnnxRuntimeClassifier(exported.model).logits(images), expected)
    assert parity.top1_agreement >= 0.999
    assert parity.max_abs_difference < 0.02 * np.ptp(expected)


def test_a_float_file_gives_the_modules_logits(float_export, images, normalization):
    with torch.no_grad():
        expected = float_export.module(normalization.apply(torch.from_numpy(images))).numpy()
    logits = OnnxRuntimeClassifier(float_export.model).logits(images)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_onnx_reference_computes_the_same_logits(exported, images):
    reference = ReferenceEvaluator(exported.model.proto)
    (expected,) = reference.run(None, {"images": images[:4]})
    logits = OnnxRuntimeClassifier(exported.model).logits(images[:4])
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.ptp(expected))


def test_exporting_again_is_silent_and_gives_the_same_bytes(exported, export, capfd, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        again = export(exported.module, stage=exported.model.stage)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
    assert again.content == exported.model.content


def test_the_file_is_valid_onnx_and_says_what_it_is(exported):
    onnx.checker.check_model(exported.model.proto, full_check=True)
    metadata = {entry.key: entry.value for entry in exported.model.proto.metadata_props}
    assert set(metadata) == {"classes", "stage", "fingerprint", "architecture"}
    assert json.loads(metadata["classes"]) == ["top", "middle", "bottom"]
    assert metadata["fingerprint"] == "0123abcd"


def test_the_graph_carries_nothing_that_a_runtime_does_not_need(exported):
    proto = exported.model.proto
    text = [proto.doc_string, proto.graph.doc_string, *(n.doc_string for n in proto.graph.node)]
    assert not any(text)
    assert not proto.functions
    assert not proto.graph.value_info
    assert not any(node.metadata_props or node.name for node in proto.graph.node)
    assert not any(value.metadata_props for value in (*proto.graph.input, *proto.graph.output))
    read = {name for node in proto.graph.node for name in node.input}
    assert {constant.name for constant in proto.graph.initializer} <= read


def test_beside_the_weights_a_float_file_holds_almost_nothing(float_export):
    proto = float_export.model.proto
    numbers = sum(len(constant.raw_data) for constant in proto.graph.initializer)
    assert float_export.model.size - numbers < 75 * len(proto.graph.node)


def test_an_int8_file_is_a_quarter_of_its_weights_and_a_little(int8_export, float_module):
    channels = sum(
        part.out_channels if isinstance(part, nn.Conv2d) else part.out_features
        for part in float_module.modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    )
    weights = sum(p.numel() for p in float_module.parameters() if p.ndim > 1)
    # A byte a weight; a float scale, an int32 bias and zero points a channel.
    assert int8_export.model.size < weights + 9 * channels + 5000


def test_weights_are_named_after_their_layers(exported):
    names = {constant.name for constant in exported.model.proto.graph.initializer}
    assert any(re.fullmatch(r".*\.0\.conv1", name) for name in names)
    short = {name for name in names if len(name) <= 2}
    assert len(short) > len(names) / 3


def test_the_bytes_go_straight_into_the_integer_kernels(int8_export):
    found = operators(int8_export.model)
    assert found["Cast"] == 0
    assert found["ReduceMean"] == 0
    assert found["GlobalAveragePool"] == 1
    readers = [n.op_type for n in int8_export.model.proto.graph.node if "images" in n.input]
    assert readers == ["DequantizeLinear"]


def test_any_number_of_images_can_be_given(exported, images):
    classifier = OnnxRuntimeClassifier(exported.model)
    together = classifier.logits(images[:5])
    for row in range(5):
        np.testing.assert_allclose(
            classifier.logits(images[row : row + 1])[0], together[row], atol=1e-5
        )


def test_each_channel_is_normalised_by_its_own_numbers(export):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    normalization = Normalization(mean=(0.1, 0.5, 0.9), std=(0.1, 0.2, 0.4))
    model = export(module, input_shape=(3, 6, 6), normalization=normalization)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    with torch.no_grad():
        expected = module(normalization.apply(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(OnnxRuntimeClassifier(model).logits(images), expected, atol=1e-5)


def test_a_module_is_exported_in_evaluation_mode_and_left_in_its_own(export, images, normalization):
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.9), nn.Flatten(), nn.Linear(144, 3))
    model = export(module.train())
    assert module.training
    assert operators(model)["Dropout"] == 0
    with torch.no_grad():
        expected = module.eval()(normalization.apply(torch.from_numpy(images[:3]))).numpy()
    logits = OnnxRuntimeClassifier(model).logits(images[:3])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_another_number_of_channels_than_the_normalisations_is_refused(export):
    with pytest.raises(ValueError, match="have 3 channels, the normalisation has 1"):
        export(nn.Flatten(), input_shape=(3, 6, 6))


def test_a_network_that_gives_something_else_than_a_logit_a_class_is_refused(export):
    with pytest.raises(OnnxModelError, match=r"\(N, 3\), one number per class; got .*\(N, 5\)"):
        export(nn.Sequential(nn.Flatten(), nn.Linear(144, 5)))
