"""A deployable as a LoggedModel: with signature and input example, as `mlflow models serve` needs.

Knows MLflow and the deployable's contract; not the registry.
"""

from collections.abc import Mapping
from importlib.metadata import version

import mlflow
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from model_compression.deployment import OnnxModel


def log_onnx(run_id: str, model: OnnxModel, tags: Mapping[str, str]) -> str:
    """Logs the file as a model of the run, by the name of its stage; its identifier.

    The run's parameters become the model's.
    """
    channels, height, width = model.input_shape
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, channels, height, width), "images")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(model.classes)), "logits")]),
    )
    info = Model.log(
        artifact_path=None,
        flavor=mlflow.onnx,
        name=model.stage,
        run_id=run_id,
        tags=dict(tags),
        onnx_model=model.proto,
        signature=signature,
        input_example={"images": np.zeros((1, channels, height, width), dtype=np.uint8)},
        # Named, so that MLflow does not load the model in a new process to find them out.
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        metadata={"fingerprint": model.fingerprint, "architecture": model.architecture},
    )
    return str(info.model_id)


def find_logged(client: mlflow.MlflowClient, run_id: str, name: str) -> str | None:
    """The model of that name that the run has already, if it is complete."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models(
        [experiment], filter_string=f"source_run_id = '{run_id}' AND name = '{name}'"
    )
    return next((str(model.model_id) for model in found if str(model.status) == "READY"), None)
