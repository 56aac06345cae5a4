"""Kedro's events on their way to MLflow: a run per `kedro run`, a nested run per stage.

Knows Kedro's hooks, kedro-mlflow's configuration and when a run begins and ends. What is tracked is
said by each catalog entry's ``metadata.mlflow`` (``mirroring`` has the kinds); the files that the
catalog writes stay the source of truth.
"""

import logging
import os
from collections.abc import Mapping
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

import mlflow
from kedro.config import AbstractConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook

from model_compression.relocation import relocate_artifacts
from model_compression.tracking.database import make_whole
from model_compression.tracking.ending import end_left_over
from model_compression.tracking.entries import Status
from model_compression.tracking.identity import Trial
from model_compression.tracking.lifetime import Lifetime
from model_compression.tracking.mirroring import mirror_loaded, mirror_saved
from model_compression.tracking.outbox import (
    FOLDER,
    Experiment,
    Header,
    Identifiers,
    waiting,
    without_password,
)
from model_compression.tracking.processes import host_id, this_process
from model_compression.tracking.reach import (
    is_unreachable,
    limit_patience,
    reason,
    why_unreachable,
)
from model_compression.tracking.recorder import Recorder, warn_of_outbox
from model_compression.tracking.sender import Sender
from model_compression.tracking.system_metrics import SystemMetrics, wanted
from model_compression.tracking.tracked_run import TrackedRun

logger = logging.getLogger(__name__)


class Tracking(MlflowHook):  # type: ignore[misc]
    """kedro-mlflow's hook, with stages, models, inputs, and no fear of a server that is away."""

    mlflow_config: KedroMlflowConfig

    def __init__(self) -> None:
        super().__init__()
        self._unreachable: str | None = None
        self._run: TrackedRun | None = None
        self._nodes_left: dict[str, int] = {}
        self._lifetime: Lifetime | None = None
        self._system_metrics: SystemMetrics | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Reads the configuration and looks for the server.

        Database and artifacts lie beside the project unless the user named a server.
        """
        self._end_as_killed()  # a run that was interrupted in a notebook
        limit_patience()
        self._project = Path(context.project_path)
        self._database = self._project / "mlflow.db"
        self._artifacts = self._project / "mlartifacts"
        settings = context.config_loader["mlflow"]
        uri = (settings.get("server") or {}).get("mlflow_tracking_uri")
        artifacts_follow = False
        if uri is None and "MLFLOW_TRACKING_URI" not in os.environ:
            artifacts_follow = self._keep_beside(context.config_loader)
        self._uri = str(uri or os.environ["MLFLOW_TRACKING_URI"])
        self._unreachable = why_unreachable(self._uri)
        if self._unreachable is None:
            try:
                if self._uri == f"sqlite:///{self._database}":
                    self._make_database_whole()
                if artifacts_follow and relocate_artifacts(self._database, self._artifacts):
                    logger.info("The project was moved: MLflow's artifact locations follow it")
                super().after_context_created(context)
                self._uri = str(self.mlflow_config.server.mlflow_tracking_uri)
            except Exception as error:
                if not is_unreachable(error):
                    raise
                self._unreachable = reason(error)
        if self._unreachable is not None:
            self._already_active_mlflow = False
            self.mlflow_config = KedroMlflowConfig.model_validate(
                {**context.config_loader["mlflow"]}
            )
            context.__setattr__("mlflow", self.mlflow_config)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Opens the run, and notes which stages are going to need one of their own."""
        trial = Trial.from_kedro(run_params, default=_name_of_default())
        disabled = self.mlflow_config.tracking.disable_tracking.pipelines
        self._is_mlflow_enabled = not all(name in disabled for name in trial.pipelines)
        if not self._is_mlflow_enabled:
            super().before_pipeline_run(run_params, pipeline, catalog)
            return
        self._catalog = catalog
        self._nodes_left = {}
        for node in pipeline.nodes:
            if node.namespace:
                self._nodes_left[node.namespace] = self._nodes_left.get(node.namespace, 0) + 1
        self._begin(trial)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Opens the stage's run before its first node, and logs the node's parameters."""
        if self._run is None:
            return
        if node.namespace:
            self._run.open_stage(node.namespace)
        for name, value in inputs.items():
            if name.startswith("params:"):
                group = name.removeprefix("params:")
                self._run.log_parameters(node.namespace, group, value)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Records images and models that are read."""
        if self._run is not None and not dataset_name.startswith("params:"):
            # A node's inputs are loaded before it is announced.
            if node.namespace:
                self._run.open_stage(node.namespace)
            dataset = self._catalog.get(dataset_name)
            mirror_loaded(self._run, node.namespace, dataset_name, data, dataset)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Counts the stage's nodes; their outputs are saved after this."""
        if node.namespace in self._nodes_left:
            self._nodes_left[node.namespace] -= 1

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Mirrors the saved data as its catalog entry says, and ends a stage that is complete."""
        if self._run is None:
            return
        stage = node.namespace
        dataset = self._catalog.get(dataset_name)
        mirror_saved(self._run, stage, dataset_name, data, dataset, node.inputs)
        # A generator node saves its outputs once an epoch; which time is the last isn't known here.
        is_last_save = dataset_name == node.outputs[-1] and not isgeneratorfunction(node.func)
        if stage and is_last_save and self._nodes_left.get(stage) == 0:
            self._run.end_stage(stage, "FINISHED")

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Ends the run, and what is still open: a stage of which only some nodes were asked for."""
        if self._run is None:
            super().after_pipeline_run(run_params, pipeline, catalog)
        else:
            self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
    ) -> None:
        """Ends the open runs as failed."""
        if self._run is None:
            super().on_pipeline_error(error, run_params, pipeline, catalog)
        else:
            self._end("FAILED")

    def _keep_beside(self, config: AbstractConfigLoader) -> bool:
        """Names the database and the artifacts' folder; whether that is the one beside it."""
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{self._database}"
        settings, beside = config["mlflow"], str(self._artifacts)
        creation = settings["tracking"]["experiment"].setdefault("create_experiment_kwargs", {})
        if creation.setdefault("artifact_location", beside) != beside:
            return False
        config["mlflow"] = settings
        return True

    def _make_database_whole(self) -> None:
        aside = make_whole(self._database, self._artifacts)
        if aside is not None:
            logger.warning(
                "%s was left half-made by a process that was killed, and MLflow can't go on with "
                "it; it held no run, is now called %s, and a new one is begun",
                self._database.name,
                aside.name,
            )

    def _begin(self, trial: Trial) -> None:
        tracking = self.mlflow_config.tracking
        name = tracking.run.name or trial.name
        outbox, speaker = self._project / FOLDER, self._connect()
        if self._unreachable is not None:
            warn_of_outbox(without_password(self._uri), self._unreachable, outbox)
        creation = tracking.experiment.create_experiment_kwargs
        header = Header(
            name=name,
            uri=without_password(self._uri),
            experiment=Experiment(
                name=tracking.experiment.name,
                artifact_location=creation.artifact_location,
                tags=creation.tags,
            ),
            host=host_id(),
            process=this_process(),
        )
        self._lifetime = lifetime = Lifetime(self._end_as_killed)
        self._recorder = Recorder(
            speaker,
            outbox,
            header,
            is_unreachable,
            on_change=lambda runs: lifetime.watch(self._uri, runs),
        )
        lifetime.begin()
        self._run = TrackedRun(self._recorder, trial.tags(self._project))
        self._heal(speaker)
        active = mlflow.active_run()
        self._run.begin(
            name, active.info.run_id if active else tracking.run.id, is_ours=active is None
        )
        self._activate()
        if wanted():
            self._system_metrics = SystemMetrics(self._run.log_system_metrics)
            self._system_metrics.start()

    def _connect(self) -> Sender | None:
        if self._unreachable is not None:
            return None
        active = mlflow.active_run()
        experiment = active.info if active else self.mlflow_config.tracking.experiment._experiment
        try:
            return Sender(self._uri, str(experiment.experiment_id), Identifiers())
        except Exception as error:
            if not is_unreachable(error):
                raise
            self._unreachable = reason(error)
            return None

    def _heal(self, speaker: Sender | None) -> None:
        """Ends what a process left that was killed together with its watcher."""
        left = sum(1 for _ in waiting(self._project / FOLDER))
        if speaker is None:
            return
        if left:
            logger.info(
                "Runs of which MLflow has not been told all: %d. To send them: python -m "
                "model_compression sync-tracking",
                left,
            )
        try:
            ended = end_left_over(speaker.client, speaker.experiment_id)
        except Exception as error:
            if not is_unreachable(error):
                raise
            return  # the next entry finds out the same, and is kept
        if ended:
            logger.info("Runs that a killed process had left open: %d, now KILLED", len(ended))

    def _activate(self) -> None:
        """Makes the run the active one, for kedro-mlflow's own datasets and MLflow in nodes."""
        self.run_id = self._recorder.run_id(self._run.key) if self._run else None
        if self.run_id is not None and not self._already_active_mlflow:
            try:
                mlflow.start_run(self.run_id, nested=True, log_system_metrics=False)
            except Exception as error:
                if not is_unreachable(error):
                    raise

    def _end(self, status: Status) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            if self._system_metrics is not None:
                self._system_metrics.finish()
                self._system_metrics = None
            run.end(status)
        finally:
            if self._lifetime is not None:
                self._lifetime.end()
            self._deactivate(status)

    def _deactivate(self, status: Status) -> None:
        while not self._already_active_mlflow and mlflow.active_run() is not None:
            try:
                mlflow.end_run(status)
            except Exception as error:  # it is off MLflow's stack all the same
                if not is_unreachable(error):
                    raise

    def _end_as_killed(self) -> None:
        """For an interrupt, of which Kedro tells no hook."""
        self._end("KILLED")


def _name_of_default() -> str:
    known: Mapping[str, Pipeline] = pipelines
    default = known["__default__"]
    return next((name for name, pipeline in known.items() if pipeline is default), "__default__")
