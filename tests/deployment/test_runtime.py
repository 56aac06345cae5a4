from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

from model_compression.deployment import OnnxRuntimeClassifier, write_onnx


def test_a_file_and_its_path_give_the_same_logits(float_export, images, tmp_path: Path):
    path = tmp_path / "model.onnx"
    write_onnx(float_export.model, path)
    from_path = OnnxRuntimeClassifier(path, threads=1).logits(images[:10])
    from_model = OnnxRuntimeClassifier(float_export.model, threads=1).logits(images[:10])
    np.testing.assert_array_equal(from_path, from_model)
    assert from_path.dtype == np.float32


@pytest.mark.parametrize("batch_size", [1, 7, 10, 500])
def test_the_batch_size_does_not_show(float_export, images, batch_size: int):
    classifier = OnnxRuntimeClassifier(float_export.model)
    np.testing.assert_allclose(
        classifier.logits(images[:10], batch_size), classifier.logits(images[:10]), atol=1e-5
    )


@pytest.mark.parametrize(("threads", "more"), [(1, 0), (3, 2), (0, None)])
def test_an_inference_takes_all_cores_unless_it_is_held_to_some(float_export, threads, more):
    if more is None:
        more = psutil.cpu_count(logical=False) - 1
    process = psutil.Process()
    before = process.num_threads()
    classifier = OnnxRuntimeClassifier(float_export.model, threads)
    assert process.num_threads() - before == more, classifier.name


def test_no_images_give_no_logits(float_export, images):
    assert OnnxRuntimeClassifier(float_export.model).logits(images[:0]).shape == (0, 3)


def test_the_runtime_says_its_version(float_export):
    expected = f"onnxruntime {onnxruntime.__version__}"
    assert OnnxRuntimeClassifier(float_export.model).name == expected


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 1, 12, 12), np.float32),
        np.zeros((1, 3, 12, 12), np.uint8),
        np.zeros((1, 12, 12), np.uint8),
    ],
)
def test_other_images_are_refused(float_export, wrong: np.ndarray):
    with pytest.raises(ValueError, match=r"uint8 images of shape \(N, 1, 12, 12\); got"):
        OnnxRuntimeClassifier(float_export.model).logits(wrong)


def test_impossible_numbers_are_refused(float_export, images):
    with pytest.raises(ValueError, match="threads must be at least 0; got -1"):
        OnnxRuntimeClassifier(float_export.model, threads=-1)
    with pytest.raises(ValueError, match="batch size must be at least 1; got 0"):
        OnnxRuntimeClassifier(float_export.model).logits(images, batch_size=0)
