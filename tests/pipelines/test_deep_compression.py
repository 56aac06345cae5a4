"""The environment of Deep Compression's experiment, on a few images that are not Fashion-MNIST."""

import os
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from model_compression.deployment import graph_cost, packed_size, read_onnx
from model_compression.models import read_checkpoint

ROOT = Path(__file__).parents[2]
GROUPS = ("teacher", "distillation", "pruning", "quantization")
SHORT = {"training": {"epochs": 2, "batch_size": 32, "schedule": {"warmup_epochs": 0.5}}}


def idx(array: np.ndarray) -> bytes:
    sizes = np.asarray(array.shape, dtype=">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a folder of images in MNIST's format beside its own: bars, one a class."""
    project = tmp_path_factory.mktemp("deep_compression")
    for file in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / file, project)
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "src").mkdir()  # the package is installed; Kedro wants the folder
    raw = project / "data" / "01_raw"
    (raw / "bars").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 180), ("t10k", 60)):
        labels = np.arange(count, dtype=np.uint8) % 3
        images = generator.integers(0, 80, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[9 * label : 9 * label + 9] += 120
        (raw / "bars" / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / "bars" / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return project


def parameters_of(project: Path, **given: Any) -> dict[str, Any]:
    with chdir(project):
        bootstrap_project(project)
        with KedroSession.create(project, env="deep_compression", runtime_params=given) as session:
            return session.load_context().params


@pytest.fixture(scope="module")
def compressed(project) -> Path:
    """Runs the chain to its last file with nothing changed but the folder and how long it takes."""
    saved = os.environ.pop("MLFLOW_TRACKING_URI", None)
    given = {group: SHORT for group in GROUPS} | {"data": {"source": {"folder": "bars"}}}
    try:
        with chdir(project):
            bootstrap_project(project)
            with KedroSession.create(
                project, env="deep_compression", runtime_params=given
            ) as session:
                session.run(
                    pipeline_names=["compress"], to_nodes=["teacher.export", "quantized.export"]
                )
    finally:
        while mlflow.active_run() is not None:
            mlflow.end_run("FAILED")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if saved is not None:
            os.environ["MLFLOW_TRACKING_URI"] = saved
    return project / "data" / "deep_compression" / "06_models"


def test_other_images_of_mnists_format_need_no_other_parameter_than_their_folder(compressed):
    assert read_onnx(compressed / "quantized" / "model.onnx").classes == ("0", "1", "2")


def test_what_was_masked_is_zero_in_the_last_file(project, compressed):
    pruned = read_checkpoint(compressed / "pruned" / "model.safetensors")
    masked = {name: pruned.weights[name] for name in pruned.details["masked"]}
    dropped = sum(int((weight == 0).sum()) for weight in masked.values())
    sparsity = parameters_of(project)["pruning"].pruning.sparsity
    assert dropped >= round(sparsity * sum(weight.numel() for weight in masked.values()))
    dense, last = (
        read_onnx(compressed / stage / "model.onnx") for stage in ("teacher", "quantized")
    )
    assert graph_cost(last).nonzero_parameters <= graph_cost(dense).parameters - dropped
    assert 30 * packed_size(last.content) < 4 * graph_cost(dense).parameters
    onnx.checker.check_model(onnx.load_from_string(last.content))


@pytest.mark.parametrize(
    ("network", "alpha", "bits", "sparsity", "epochs"),
    [("lenet300", 0.1, 5, 0.88, [60, 60, 100, 24]), ("lenet5", 0.5, 6, 0.92, [15, 20, 60, 10])],
)
def test_each_network_has_a_recipe_of_its_own(project, network, alpha, bits, sparsity, epochs):
    given = parameters_of(project, teacher={"model": {"name": network}})
    assert [given[group].training.epochs for group in GROUPS] == epochs
    assert given["pruning"].pruning.sparsity == sparsity
    assert given["quantization"].quantization.weight_bits == bits
    assert given["pruning"].distillation.alpha == alpha
    assert given["quantization"].distillation.alpha == alpha
    assert given["teacher"].model.name == given["distillation"].model.name == network
    assert given["pruning"].pruning.method == "weights"
    for group in GROUPS:
        # A mirrored digit is another one, or none.
        assert given[group].training.augmentation.horizontal_flip == 0


def test_lenet300_is_what_is_compressed_unless_another_is_named(project):
    assert parameters_of(project)["teacher"].model.name == "lenet300"
