"""Says an entry to MLflow.

Knows MLflow's client. Every entry can be said twice without a second trace: what MLflow would make
anew, a run, a model, a version, is looked for first where an entry may have come through before.
"""

import json

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import (
    MLFLOW_MODEL_VERSIONS,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
)
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

from model_compression.deployment import read_onnx
from model_compression.tracking import registry
from model_compression.tracking.entries import (
    EndRun,
    Entry,
    LogArtifact,
    LogInput,
    LogMetrics,
    LogModel,
    LogParameters,
    MoveAliases,
    OpenRun,
    SetTags,
    TagVersion,
)
from model_compression.tracking.logged_models import find_logged, log_onnx
from model_compression.tracking.outbox import Experiment, Identifiers

KEY = "tracking_key"
"""Tag of a run: our key of it."""


class Sender:
    """Speaks to one experiment on one server."""

    def __init__(self, uri: str, experiment_id: str, identifiers: Identifiers) -> None:
        """Takes what it writes to.

        Args:
            uri: The tracking server.
            experiment_id: Where runs are opened; it is not a deleted one.
            identifiers: Kept up to date with what is opened.
        """
        # Models are logged by MLflow's module, which knows one server and one experiment for the
        # whole process.
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment_id=experiment_id)
        self.client = MlflowClient(uri)
        self.experiment_id = experiment_id
        self.identifiers = identifiers

    def say(self, entry: Entry, again: bool = False) -> None:
        """Says it.

        Args:
            entry: What.
            again: Whether it may have been said before.
        """
        match entry:
            case OpenRun():
                self._open_run(entry, again)
            case EndRun():
                self.client.set_terminated(self._run(entry.run), entry.status, entry.end_time)
            case SetTags():
                tags = [RunTag(key, value) for key, value in entry.tags.items()]
                self.client.log_batch(self._run(entry.run), tags=tags)
            case LogParameters():
                self._log_parameters(entry)
            case LogMetrics():
                self._log_metrics(entry, again)
            case LogInput():
                self.client.log_inputs(self._run(entry.run), [_dataset_input(entry)])
            case LogArtifact():
                self.client.log_artifact(self._run(entry.run), str(entry.file), entry.folder)
            case LogModel():
                self._log_model(entry, again)
            case TagVersion():
                self._tag_version(entry)
            case MoveAliases():
                self._move_aliases(entry)

    def _run(self, key: str) -> str:
        return self.identifiers.runs[key]

    def _open_run(self, entry: OpenRun, again: bool) -> None:
        if entry.run in self.identifiers.runs:
            return
        if again:
            known = self.client.search_runs(
                [self.experiment_id], f"tags.{KEY} = '{entry.run}'", max_results=1
            )
            if known:
                self.identifiers.runs[entry.run] = str(known[0].info.run_id)
                return
        tags = {**entry.tags, KEY: entry.run, MLFLOW_RUN_NAME: entry.name}
        if entry.parent is not None:
            tags[MLFLOW_PARENT_RUN_ID] = self._run(entry.parent)
        run = self.client.create_run(self.experiment_id, entry.start_time, tags)
        self.identifiers.runs[entry.run] = str(run.info.run_id)

    def _log_parameters(self, entry: LogParameters) -> None:
        values = [Param(key, value) for key, value in entry.values.items()]
        for first in range(0, len(values), MAX_PARAMS_TAGS_PER_BATCH):
            batch = values[first : first + MAX_PARAMS_TAGS_PER_BATCH]
            self.client.log_batch(self._run(entry.run), params=batch)

    def _log_metrics(self, entry: LogMetrics, again: bool) -> None:
        images, model_id = entry.images, self.identifiers.models.get(entry.model or "")
        # MLflow takes a run's metric twice in silence, and a model's with an error.
        known = self._metrics_of(model_id) if again and model_id else set()
        values = [
            Metric(
                measured.name,
                measured.value,
                entry.time,
                measured.step,
                model_id=model_id,
                dataset_name=images.name if images else None,
                dataset_digest=images.digest if images else None,
            )
            for measured in entry.values
            if (measured.name, entry.time, measured.step) not in known
        ]
        for first in range(0, len(values), MAX_METRICS_PER_BATCH):
            batch = values[first : first + MAX_METRICS_PER_BATCH]
            self.client.log_batch(self._run(entry.run), metrics=batch)

    def _metrics_of(self, model_id: str) -> set[tuple[str, int, int]]:
        metrics = self.client.get_logged_model(model_id).metrics or []
        return {(metric.key, metric.timestamp, metric.step) for metric in metrics}

    def _log_model(self, entry: LogModel, again: bool) -> None:
        run_id, model = self._run(entry.run), read_onnx(entry.file)
        model_id = find_logged(self.client, run_id, model.stage) if again else None
        model_id = model_id or log_onnx(run_id, model, entry.tags)
        self.identifiers.models[entry.model] = model_id
        name = entry.registered_name
        if name is not None:
            version = registry.register(self.client, name, model_id, run_id, entry.tags)
            self.identifiers.versions[entry.model] = (name, version)
            # MLflow's page of models links to the version by its own tag.
            link = json.dumps([{"name": name, "version": version}])
            self.client.set_logged_model_tags(
                model_id,
                {"registered_version": f"{name}/{version}", MLFLOW_MODEL_VERSIONS: link},
            )

    def _tag_version(self, entry: TagVersion) -> None:
        if entry.model in self.identifiers.versions:
            name, version = self.identifiers.versions[entry.model]
            for key, value in entry.tags.items():
                self.client.set_model_version_tag(name, version, key, value)

    def _move_aliases(self, entry: MoveAliases) -> None:
        _, recommended = self.identifiers.versions.get(entry.recommended or "", (None, None))
        registry.move_aliases(
            self.client, entry.registered_name, entry.measured_on, entry.conditions, recommended
        )


def _dataset_input(entry: LogInput) -> DatasetInput:
    count, *shape = entry.shape
    schema = Schema([TensorSpec(np.dtype("uint8"), (-1, *shape), "images")])
    dataset = Dataset(
        name=entry.images.name,
        digest=entry.images.digest,
        source_type="local",
        source=json.dumps({"uri": entry.source}),
        schema=json.dumps({"mlflow_tensorspec": {"features": schema.to_json(), "targets": None}}),
        profile=json.dumps(
            {"num_rows": count, "features_shape": list(entry.shape), "classes": entry.classes}
        ),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", entry.context)])


def connect(uri: str, experiment: Experiment, identifiers: Identifiers) -> Sender:
    """A sender to an experiment, made if it isn't there, restored if it was deleted."""
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment.name)
    if known is None:
        experiment_id = client.create_experiment(
            experiment.name, experiment.artifact_location, experiment.tags
        )
        return Sender(uri, str(experiment_id), identifiers)
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return Sender(uri, str(known.experiment_id), identifiers)
