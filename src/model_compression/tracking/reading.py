"""Reads tracked runs back from MLflow: a row a stage of every run that has finished.

Knows MLflow and what the tracking hook calls things, older hooks too; not what is done with it.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import mlflow
from kedro.io import AbstractDataset
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

PAGE = 1000
"""Runs that are asked for at a time."""

TAGS = {
    "pipeline": ("pipeline", "pipeline_names"),
    "environment": ("environment", "env"),
    "overrides": ("overrides",),
    "commit": (MLFLOW_GIT_COMMIT,),
    "test_images": ("data.test_images",),
    "cpu": ("host_cpu",),
}
"""Columns, and the tags that tell them: the hook's, or else what kedro-mlflow calls them."""

METRICS = {
    "accuracy": ("accuracy", "test_accuracy"),
    "accuracy_low": ("accuracy_low",),
    "accuracy_high": ("accuracy_high",),
    "parameters": ("parameters",),
    "nonzero_parameters": ("nonzero_parameters",),
    "macs": ("macs",),
    "file_bytes": ("file_bytes",),
    "packed_bytes": ("packed_bytes",),
    "latency_ms_batch1": ("latency_ms_batch1",),
    "latency_ms_batch64": ("latency_ms_batch64",),
    "training_seconds": ("training_seconds",),
}
"""Columns, and the metrics that tell them."""

Row = dict[str, Any]


class TrackedExperiments(Mapping[str, list[Row]]):
    """MLflow's experiments by name; an experiment is read when it is asked for."""

    def __init__(self, tracking_uri: str | None = None) -> None:
        """Reads nothing yet.

        Args:
            tracking_uri: Of the store or server; ``None``: the one that MLflow uses.
        """
        self._uri = tracking_uri or mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(self._uri)

    def __getitem__(self, name: str) -> list[Row]:
        experiment = self._asked(lambda: self._client.get_experiment_by_name(name))
        if experiment is None or experiment.lifecycle_stage != "active":
            raise KeyError(name)
        return list(_stages(self._asked(lambda: self._finished(experiment)), experiment))

    def __iter__(self) -> Iterator[str]:
        found = self._asked(self._client.search_experiments)
        return iter(sorted(experiment.name for experiment in found))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _finished(self, experiment: Experiment) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [experiment.experiment_id],
                "attributes.status = 'FINISHED'",
                ViewType.ACTIVE_ONLY,
                PAGE,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _asked(self, question: Any) -> Any:
        try:
            return question()
        except MlflowException as error:
            raise ConnectionError(
                f"MLflow at {self._uri} doesn't answer ({error.message}): start the server that "
                "MLFLOW_TRACKING_URI names, or unset it to read mlflow.db beside the project"
            ) from error


class TrackedExperimentsDataset(AbstractDataset[None, TrackedExperiments]):
    """What MLflow has of earlier runs, by experiment; it can't be written.

    ::

        tracked_experiments:
          type: model_compression.tracking.reading.TrackedExperimentsDataset
    """

    def __init__(
        self, tracking_uri: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Reads nothing yet.

        Args:
            tracking_uri: Of the store or server; ``null``: the one that the runs are tracked in.
            metadata: Ignored here; Kedro-Viz reads it.
        """
        self._uri = tracking_uri
        self.metadata = metadata

    def load(self) -> TrackedExperiments:
        """The experiments, each read when it is asked for."""
        return TrackedExperiments(self._uri)

    def save(self, data: None) -> None:
        """Never.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("runs are tracked by the hook, and only read through the catalog")

    def _describe(self) -> dict[str, Any]:
        return {"tracking_uri": self._uri}


def _stages(runs: list[Run], experiment: Experiment) -> Iterator[Row]:
    """A row for all that a finished run has judged: in nested runs, in a comparison, or both.

    A run that only compares what others have made has no nested runs of its own.
    """
    inside: dict[str, dict[str, Run]] = {}
    for run in runs:
        parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
        if parent is not None:
            inside.setdefault(parent, {})[run.info.run_name] = run
    for whole in runs:
        if MLFLOW_PARENT_RUN_ID in whole.data.tags:
            continue
        nested = inside.get(whole.info.run_id, {})
        for name in dict.fromkeys([*nested, *_compared(whole)]):
            measured = _measured(name, nested.get(name), whole)
            if measured["accuracy"] is not None:
                yield {**_origin(name, nested.get(name), whole, experiment), **measured}


def _compared(whole: Run) -> list[str]:
    """What a run has a comparison of: its metrics are called ``<stage>.<column>``."""
    ending = ".accuracy"
    names = (metric.removesuffix(ending) for metric in whole.data.metrics if ending in metric)
    return [name for name in names if f"{name}{ending}" in whole.data.metrics]


def _origin(name: str, run: Run | None, whole: Run, experiment: Experiment) -> Row:
    tags = {**(run.data.tags if run is not None else {}), **whole.data.tags}
    told = {column: _first(tags, names) for column, names in TAGS.items()}
    pipeline, digest = told["pipeline"] or "", told["test_images"]
    images = run.data.metrics.get("images") if run is not None else None
    outputs = run.outputs.model_outputs if run is not None and run.outputs is not None else []
    return {
        **told,
        # kedro-mlflow writes a Python list.
        "pipeline": pipeline.strip("[]").replace("'", ""),
        "run": whole.info.run_name,
        "run_id": whole.info.run_id,
        "started": datetime.fromtimestamp(whole.info.start_time / 1000, UTC).isoformat(
            timespec="seconds"
        ),
        "experiment": experiment.name,
        "kind": "trial" if re.search(r"-seed\d+$", name) else "stage",
        "stage": name,
        "model": f"models:/{outputs[-1].model_id}" if outputs else None,
        # Which images is not known of an older run, but how many.
        "test_images": f"images {digest[:8]}" if digest else images and f"{images:.0f} images",
        "threads": whole.data.params.get("reporting.threads"),
    }


def _measured(name: str, run: Run | None, whole: Run) -> Row:
    """A stage's own figures; what they lack, such as latencies, is told by the comparison."""
    known = {
        metric.removeprefix(f"{name}."): value
        for metric, value in whole.data.metrics.items()
        if metric.startswith(f"{name}.")
    }
    own = run.data.metrics if run is not None else {}
    return {column: _first({**known, **own}, names) for column, names in METRICS.items()}


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if name in values), None)
