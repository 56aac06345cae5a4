import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from model_compression.deployment import OnnxModelError, OnnxRuntimeClassifier, write_onnx
from model_compression.deployment.latency import measure_runtimes
from model_compression.deployment.openvino_runtime import OpenVinoClassifier
from model_compression.quantization import QatSettings, calibrate, convert, prepare_qat

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra [openvino] isn't installed"
)


@needs_openvino
def test_float_logits_are_those_of_onnx_runtime(float_export, images):
    reference = OnnxRuntimeClassifier(float_export.model, threads=1).logits(images[:50])
    logits = OpenVinoClassifier(float_export.model, threads=1).logits(images[:50])
    assert logits.dtype == np.float32
    # Tight enough that bfloat16, which has three digits, would be seen.
    np.testing.assert_allclose(logits, reference, atol=1e-4)


@needs_openvino
def test_an_int8_file_names_the_same_classes_as_in_onnx_runtime(int8_export, images):
    reference = OnnxRuntimeClassifier(int8_export.model, threads=1).logits(images)
    logits = OpenVinoClassifier(int8_export.model, threads=1).logits(images)
    assert (logits.argmax(1) == reference.argmax(1)).mean() >= 0.99


@needs_openvino
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("steps", ["learned", "codebook"])
def test_weights_of_few_bits_are_read(float_module, images, normalization, export, bits, steps):
    settings = QatSettings(weight_bits=bits, grid_steps=steps)
    prepared = prepare_qat(float_module, images.shape[1:], settings)
    calibrate(prepared, [normalization.apply(torch.from_numpy(images))])
    model = export(convert(prepared))
    reference = OnnxRuntimeClassifier(model, threads=1).logits(images)
    logits = OpenVinoClassifier(model, threads=1).logits(images)
    assert (logits.argmax(1) == reference.argmax(1)).mean() >= 0.99


@needs_openvino
def test_openvino_answers_the_same_without_zero_points(float_module, images, normalization, export):
    prepared = prepare_qat(float_module, images.shape[1:], QatSettings(activation_grid="symmetric"))
    calibrate(prepared, [normalization.apply(torch.from_numpy(images))])
    model = export(convert(prepared))
    reference = OnnxRuntimeClassifier(model, threads=1).logits(images)
    logits = OpenVinoClassifier(model, threads=1).logits(images)
    assert (logits.argmax(1) == reference.argmax(1)).mean() >= 0.99
    # A sum that is half way between two steps may be rounded the other way.
    assert np.median(np.abs(logits - reference)) < 0.01 * np.abs(reference).max()


@needs_openvino
def test_a_file_and_its_path_give_the_same_logits_in_any_batches(
    float_export, images, tmp_path: Path
):
    path = tmp_path / "model.onnx"
    write_onnx(float_export.model, path)
    from_path = OpenVinoClassifier(path, threads=1).logits(images[:10], batch_size=3)
    from_model = OpenVinoClassifier(float_export.model, threads=1).logits(images[:10])
    np.testing.assert_allclose(from_path, from_model, atol=1e-5)


@needs_openvino
def test_logits_outlive_the_next_inference_and_images_need_not_lie_together(float_export, images):
    classifier = OpenVinoClassifier(float_export.model, threads=1)
    logits = classifier.run(images[:6:2])
    kept = logits.copy()
    together = classifier.run(np.ascontiguousarray(images[:6:2]))
    classifier.run(images[6:9])
    np.testing.assert_array_equal(logits, kept)
    np.testing.assert_array_equal(logits, together)


@needs_openvino
def test_no_images_give_no_logits_and_the_runtime_says_its_version(float_export, images):
    classifier = OpenVinoClassifier(float_export.model)
    assert classifier.logits(images[:0]).shape == (0, 3)
    name, version = classifier.name.split()
    assert name == "openvino"
    assert version.count(".") == 2


@needs_openvino
def test_impossible_numbers_and_other_images_are_refused(float_export):
    with pytest.raises(ValueError, match="threads must be at least 0; got -1"):
        OpenVinoClassifier(float_export.model, threads=-1)
    with pytest.raises(ValueError, match=r"uint8 images of shape \(N, 1, 12, 12\)"):
        OpenVinoClassifier(float_export.model).logits(np.zeros((1, 3, 12, 12), np.uint8))


@needs_openvino
def test_a_file_that_openvino_refuses_is_named_as_such(float_export):
    model = type(float_export.model)(float_export.model.content)
    _ = model.proto, model.classes
    object.__setattr__(model, "content", b"not a network")
    with pytest.raises(OnnxModelError, match="OpenVINO can't run this file"):
        OpenVinoClassifier(model)


@needs_openvino
def test_both_runtimes_are_timed_by_turns(float_export, images):
    runtimes = {"onnxruntime": OnnxRuntimeClassifier, "openvino": OpenVinoClassifier}
    table = measure_runtimes(
        {"student": float_export.model}, images[:4], runtimes, batch_sizes=(1,), repeats=3, warmup=1
    )
    assert table["runtime"].tolist() == ["onnxruntime", "openvino"] * 3
    assert table["repeat"].tolist() == [0, 0, 1, 1, 2, 2]
    assert (table["latency_ms"] > 0).all()


def test_where_it_is_missing_the_error_names_the_extra(float_export, monkeypatch):
    # None in sys.modules makes the import fail as it does where the package is not installed.
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match=r"model-compression\[openvino\]"):
        OpenVinoClassifier(float_export.model)
