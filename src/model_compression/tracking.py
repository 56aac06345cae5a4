"""Mirrors what the catalog saves into MLflow: a run per `kedro run`, a nested run per stage.

Knows Kedro's hooks and MLflow. What is tracked, and as what, is said by each catalog entry's
``metadata.mlflow``; the files that the catalog writes stay the source of truth.

    as: metric_history   rows with an ``epoch``: one value a row and column, live during training
    as: metrics          a mapping: every number a metric of the stage's run and of its model
    as: comparison       a row a stage: every number a metric ``<stage>.<column>`` of the whole run
    as: trials           records by key: each a run of its own, nested and finished, with tags,
                         parameters, one value an epoch and metrics
    as: model            an ONNX model: a LoggedModel with signature and input example;
                         ``registered_name`` also registers a version of it
    as: artifact         the file itself
"""

import atexit
import logging
import os
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from kedro.config import AbstractConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from mlflow.entities import Metric, Param
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH
from pydantic import BaseModel

from model_compression.deployment import OnnxModel
from model_compression.parameters import flatten
from model_compression.relocation import relocate_artifacts

logger = logging.getLogger(__name__)

TRIAL_METRICS = {
    "test_accuracy": "test_accuracy",
    "best_validation_accuracy": "validation_accuracy",
    "best_epoch": "best_epoch",
    "training_seconds": "seconds",
    "file_bytes": "file_bytes",
}
"""Metrics of a trial's run, by what they are called in its record; its history has the others."""


@dataclass
class _Stage:
    """What is known of one stage's nested run while it is under way."""

    nodes_left: int
    run_id: str | None = None
    model_id: str | None = None
    rows_logged: dict[str, int] = field(default_factory=dict)


class Tracking(MlflowHook):  # type: ignore[misc]
    """kedro-mlflow's hook, with a nested run a stage and flat, typed parameters."""

    def __init__(self) -> None:
        super().__init__()
        self._stages: dict[str, _Stage] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps database and artifacts beside the project unless the user named a server."""
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._keep_beside(Path(context.project_path), context.config_loader)
        super().after_context_created(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Opens the run and notes which stages are going to need one of their own."""
        super().before_pipeline_run(run_params, pipeline, catalog)
        atexit.register(self._end_as_killed)
        self._catalog = catalog
        self._stages = {}
        for node in pipeline.nodes:
            if node.namespace:
                stage = self._stages.setdefault(node.namespace, _Stage(nodes_left=0))
                stage.nodes_left += 1

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Opens the stage's run before its first node, and logs the node's parameters."""
        if not self._is_mlflow_enabled:
            return
        runs = [str(self.run_id)]
        stage = self._stages.get(node.namespace or "")
        if stage is not None:
            if stage.run_id is None:
                name = str(node.namespace)
                stage.run_id = self._open_run(str(self.run_id), name, {"stage": name})
            runs.append(stage.run_id)
        for name, value in inputs.items():
            if name.startswith("params:"):
                for run_id in runs:
                    self._log_parameters(run_id, name.removeprefix("params:"), value)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Counts the stage's nodes; their outputs are saved after this."""
        stage = self._stages.get(node.namespace or "")
        if stage is not None:
            stage.nodes_left -= 1

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Mirrors the saved data as its catalog entry says, and ends a stage that is complete."""
        if not self._is_mlflow_enabled:
            return
        stage = self._stages.get(node.namespace or "")
        run_id = str(self.run_id if stage is None else stage.run_id)
        self._mirror(run_id, stage, dataset_name, data)
        # A generator node saves its outputs once an epoch; which time is the last isn't known here.
        is_last_save = dataset_name == node.outputs[-1] and not isgeneratorfunction(node.func)
        if stage is not None and stage.nodes_left == 0 and is_last_save:
            self._client.set_terminated(run_id, "FINISHED")
            stage.run_id = None

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Ends what is still open: a stage of which only some nodes were asked for."""
        atexit.unregister(self._end_as_killed)
        self._end_stages("FINISHED")
        super().after_pipeline_run(run_params, pipeline, catalog)

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
    ) -> None:
        """Ends the open runs as failed."""
        atexit.unregister(self._end_as_killed)
        self._end_stages("FAILED")
        super().on_pipeline_error(error, run_params, pipeline, catalog)

    @property
    def _client(self) -> mlflow.MlflowClient:
        client: mlflow.MlflowClient = self.mlflow_config.server._mlflow_client
        return client

    def _keep_beside(self, project: Path, config: AbstractConfigLoader) -> None:
        database, artifacts = project / "mlflow.db", project / "mlartifacts"
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
        settings = config["mlflow"]
        creation = settings["tracking"]["experiment"].setdefault("create_experiment_kwargs", {})
        if creation.setdefault("artifact_location", str(artifacts)) == str(artifacts):
            config["mlflow"] = settings
            if relocate_artifacts(database, artifacts):
                logger.info("The project was moved: MLflow's artifact locations follow it")

    def _end_as_killed(self) -> None:
        """For an interrupt from the keyboard, of which Kedro tells no hook."""
        self._end_stages("KILLED")
        while mlflow.active_run() is not None:
            mlflow.end_run("KILLED")

    def _open_run(
        self, parent: str, name: str, tags: dict[str, str], start_time: int | None = None
    ) -> str:
        run = self._client.create_run(
            self.mlflow_config.tracking.experiment._experiment.experiment_id,
            start_time,
            {MLFLOW_PARENT_RUN_ID: parent, MLFLOW_RUN_NAME: name, **tags},
        )
        return str(run.info.run_id)

    def _end_stages(self, status: str) -> None:
        for stage in self._stages.values():
            if stage.run_id is not None:
                self._client.set_terminated(stage.run_id, status)
                stage.run_id = None

    def _mirror(self, run_id: str, stage: _Stage | None, dataset_name: str, data: Any) -> None:
        """Logs the data as what its catalog entry says."""
        dataset = self._catalog.get(dataset_name)
        kind = dict((getattr(dataset, "metadata", None) or {}).get("mlflow") or {})
        match kind.pop("as", None):
            case None:
                pass
            case "metric_history":
                self._log_history(run_id, stage, dataset_name, data)
            case "metrics":
                self._log_metrics(run_id, data, stage.model_id if stage else None)
            case "comparison":
                for row in data.to_dict(orient="records"):
                    prefix = row.pop("stage")
                    self._log_metrics(run_id, {f"{prefix}.{key}": row[key] for key in row}, None)
                self._client.log_artifact(run_id, _file_of(dataset), "reporting")
            case "trials":
                for key, trial in data.items():
                    self._log_trial(run_id, key, trial)
            case "model":
                model_id = _log_model(run_id, data, **kind)
                if stage is not None:
                    stage.model_id = model_id
            case "artifact":
                self._client.log_artifact(run_id, _file_of(dataset), _artifact_folder(dataset))
            case other:
                raise ValueError(
                    f"{dataset_name}: metadata.mlflow.as is {other!r}; expected metric_history, "
                    "metrics, comparison, trials, model or artifact"
                )

    def _log_parameters(self, run_id: str, group: str, value: Any) -> None:
        dumped = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        self._log_params(run_id, flatten({group: dumped}))

    def _log_params(self, run_id: str, values: dict[str, Any]) -> None:
        params = [Param(name, str(leaf)[:MAX_PARAM_VAL_LENGTH]) for name, leaf in values.items()]
        self._client.log_batch(run_id, params=params)

    def _log_history(
        self,
        run_id: str,
        stage: _Stage | None,
        dataset_name: str,
        rows: list[dict[str, Any]],
    ) -> None:
        logged = stage.rows_logged.get(dataset_name, 0) if stage is not None else 0
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(key, float(value), now, int(row["epoch"]))
            for row in rows[logged:]
            for key, value in row.items()
            if key != "epoch"
        ]
        if metrics:
            self._client.log_batch(run_id, metrics=metrics)
        if stage is not None:
            stage.rows_logged[dataset_name] = len(rows)

    def _log_trial(self, parent: str, key: str, trial: dict[str, Any]) -> None:
        """A run of a trial that is over; it began when its training did."""
        began = time.time_ns() // 1_000_000 - round(trial["seconds"] * 1000)
        tags = {"stage": trial["name"], "method": trial["method"], "seed": str(trial["seed"])}
        run_id = self._open_run(parent, key, tags, began)
        self._log_params(run_id, trial["parameters"])
        self._log_history(run_id, None, key, trial["history"])
        measured = {metric: trial[name] for metric, name in TRIAL_METRICS.items()}
        self._log_metrics(run_id, measured, None)
        self._client.set_terminated(run_id, "FINISHED")

    def _log_metrics(self, run_id: str, values: dict[str, Any], model_id: str | None) -> None:
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(key, float(value), now, 0, model_id=model_id)
            for key, value in flatten(values).items()
            if isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value)
        ]
        self._client.log_batch(run_id, metrics=metrics)


def _log_model(run_id: str, model: OnnxModel, registered_name: str | None = None) -> str:
    """Logs the deployable as an MLflow LoggedModel of the run; its identifier."""
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
        registered_model_name=registered_name,
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


def _file_of(dataset: Any) -> str:
    return str(dataset._filepath)


def _artifact_folder(dataset: Any) -> str:
    """Artifacts lie in MLflow under the name of their layer's folder."""
    return Path(_file_of(dataset)).parent.name
