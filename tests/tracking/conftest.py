import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from model_compression.deployment import OnnxModel, export_onnx, write_onnx
from model_compression.images import ImageSet, Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.tracking.outbox import Experiment, Header
from model_compression.tracking.processes import host_id, this_process
from model_compression.tracking.tracked_run import TrackedRun

STAGES = ("teacher", "student")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, tuple[OnnxModel, Path]]:
    """Two small deployables, with their files."""
    found = {}
    for width, stage in zip((8, 4), STAGES, strict=True):
        torch.manual_seed(0)
        spec = ModelSettings(name="resnet8", options={"width": width}).spec((1, 12, 12), 3)
        model = export_onnx(
            build_model(spec).eval(),
            input_shape=(1, 12, 12),
            normalization=Normalization(mean=(0.4,), std=(0.25,)),
            classes=("top", "middle", "bottom"),
            stage=stage,
            fingerprint=f"{stage}-1",
            architecture="resnet8",
        )
        path = tmp_path_factory.mktemp(stage) / "model.onnx"
        write_onnx(model, path)
        found[stage] = model, path
    return found


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A database with MLflow's tables, which take a while to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path) -> Iterator[str]:
    """A store of the test's own; MLflow's module is told of no other one afterwards."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        os.environ.pop(name, None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture
def header(tmp_path) -> Header:
    return Header(
        name="compress a=1",
        uri="http://127.0.0.1:9",
        experiment=Experiment(name="trials", artifact_location=str(tmp_path / "artifacts")),
        host=host_id(),
        process=this_process(),
    )


@pytest.fixture
def images() -> ImageSet:
    pixels = np.zeros((6, 1, 12, 12), dtype=np.uint8)
    labels = np.arange(6, dtype=np.int64) % 3
    return ImageSet(pixels, labels, ("top", "middle", "bottom"), "f" * 32)


TABLE = pd.DataFrame(
    {
        "stage": ["teacher", "student"],
        "accuracy": [0.9, 0.8],
        "file_bytes": [900, 300],
        "latency_ms_batch1": [2.0, 1.0],
        "runtime": ["onnxruntime 1", "onnxruntime 1"],
    }
)


@pytest.fixture
def track(models, images, tmp_path):
    """Tells a recorder of a small `kedro run`, as the hook would; ``midway`` after a stage."""

    def tell(recorder, midway=lambda: None):
        _tell(recorder, models, images, tmp_path, midway)

    return tell


def _tell(recorder, models, images, tmp_path, midway):
    note = tmp_path / "note.txt"
    note.write_text("kept")
    run = TrackedRun(recorder, {"pipeline": "compress", "host_cpu": "this"})
    run.begin("compress a=1")
    for stage, (model, path) in models.items():
        run.open_stage(stage)
        run.log_parameters(stage, stage, {"training": {"epochs": 2}})
        for rows in (
            [{"epoch": 1, "seconds": 3.0}],
            [{"epoch": e, "seconds": 3.0} for e in (1, 2)],
        ):
            run.log_history(stage, f"{stage}.history", rows)
        run.log_model(stage, model, path, "shipped")
        run.log_input(stage, "test_images", images, "data/test", "test")
        run.log_figures(stage, {"accuracy": 0.9, "epochs": 2}, run.images_among(["test_images"]))
        run.end_stage(stage, "FINISHED")
        midway()
    rows = {row.pop("stage"): row for row in TABLE.to_dict(orient="records")}
    run.log_comparison(rows, run.images_among(["test_images"]), ["reporting.threads"])
    run.recommend("teacher")
    run.log_artifact(None, note, "reporting")
    run.end("FINISHED")
