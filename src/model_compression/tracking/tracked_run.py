"""One `kedro run` as MLflow sees it: a run, a nested one a stage, and what was seen in them.

Knows entries and their order; neither Kedro nor MLflow's client. What a dataset becomes is said in
``mirroring``.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from model_compression.deployment import OnnxModel
from model_compression.images import ImageSet
from model_compression.parameters import flatten
from model_compression.tracking.entries import (
    EndRun,
    ImagesUsed,
    LogArtifact,
    LogInput,
    LogMetrics,
    LogModel,
    LogParameters,
    Measured,
    MoveAliases,
    OpenRun,
    SetTags,
    Status,
    TagVersion,
    new_key,
    now,
)
from model_compression.tracking.recorder import Recorder
from model_compression.tracking.registry import MEASURED_ON, SHA256, STAGE, figures

OF_MODELS = ("pipeline", "environment", "overrides", "git_commit", "git_dirty")
"""Tags of a run that its models have too: what made them, but not the process."""
LONGEST_PARAMETER = 6000
"""Characters that MLflow takes as a parameter's value."""

TRIAL_METRICS = {
    "test_accuracy": "test_accuracy",
    "best_validation_accuracy": "validation_accuracy",
    "best_epoch": "best_epoch",
    "training_seconds": "seconds",
    "file_bytes": "file_bytes",
}
"""Metrics of a trial's run, by what they are called in its record; its history has the others."""

CURVES = {"seconds": "epoch_seconds"}
"""What a history's columns are called as metrics, where that is otherwise: the name tells what."""


@dataclass
class _Scope:
    """A run under way: the whole one's, or a stage's."""

    key: str
    rows_logged: dict[str, int] = field(default_factory=dict)
    """Of each history, by dataset."""
    metrics: set[str] = field(default_factory=set)
    """Names of what was measured once and has been logged."""
    inputs: set[str] = field(default_factory=set)


class TrackedRun:
    """Gathers what is needed across nodes, and records entries."""

    def __init__(self, recorder: Recorder, tags: Mapping[str, str]) -> None:
        """Opens nothing yet.

        Args:
            recorder: Takes the entries.
            tags: What tells this run from others; its stages' runs and models get them too.
        """
        self._recorder = recorder
        self._tags = dict(tags)
        self._whole = _Scope(new_key())
        self._stages: dict[str, _Scope] = {}
        self._open_stages: set[str] = set()
        self._models: dict[str, LogModel] = {}
        self._images: dict[str, ImagesUsed] = {}
        self._parameters: dict[str, str] = {}
        self._measured_on: dict[str, str] = {}
        self._conditions: dict[str, str] = {}
        self._recommended: str | None = None
        self._is_ours = True

    @property
    def key(self) -> str:
        """The whole run's."""
        return self._whole.key

    def begin(self, name: str, run_id: str | None = None, is_ours: bool = True) -> None:
        """Opens the whole run, or takes over one.

        Args:
            name: For a new one.
            run_id: Of one that is there already.
            is_ours: Whether it ends with this process's work, or is somebody else's to end.
        """
        self._is_ours = is_ours
        if run_id is not None:
            self._recorder.adopt(self.key, run_id)
            self._recorder.record(SetTags(run=self.key, tags=self._tags))
        else:
            self._recorder.record(
                OpenRun(run=self.key, name=name, tags=self._tags, start_time=now())
            )

    def open_stage(self, stage: str) -> None:
        """Opens a stage's run, unless it is open."""
        if stage not in self._stages:
            self._stages[stage] = _Scope(self._open_nested(stage, {STAGE: stage}, now()))
            self._open_stages.add(stage)

    def end_stage(self, stage: str, status: Status) -> None:
        """Ends a stage's run, if it is open; figures may still be added to it."""
        if stage in self._open_stages:
            self._open_stages.remove(stage)
            self._end(self._stages[stage].key, status)

    def end(self, status: Status) -> None:
        """Ends all that is open; of a run that finished, aliases move to what is best now."""
        for stage in list(self._open_stages):
            self.end_stage(stage, status)
        if status == "FINISHED":
            self._move_aliases()
        if self._is_ours:
            self._end(self.key, status)

    def log_parameters(self, stage: str | None, group: str, value: Any) -> None:
        """Logs a group of parameters, flat, in the whole run and in the stage's."""
        dumped = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        values = _as_parameters({group: dumped})
        self._parameters.update(values)
        for key in dict.fromkeys((self.key, self._scope(stage).key)):
            self._recorder.record(LogParameters(run=key, values=values))

    def log_input(
        self, stage: str | None, name: str, images: ImageSet, source: str, context: str
    ) -> None:
        """Logs an image set that is read, once in each run."""
        used = ImagesUsed(name=name, digest=images.fingerprint)
        if self._images.get(name) != used:
            self._recorder.record(SetTags(run=self.key, tags={f"data.{name}": used.digest}))
        self._images[name] = used
        for scope in (self._whole, self._scope(stage)):
            if name not in scope.inputs:
                scope.inputs.add(name)
                self._recorder.record(
                    LogInput(
                        run=scope.key,
                        images=used,
                        shape=(len(images), *images.image_shape),
                        classes=len(images.classes),
                        source=source,
                        context=context,
                    )
                )

    def images_among(self, names: Iterable[str]) -> ImagesUsed | None:
        """The image set that was read, if just one of the names is one's."""
        used = [self._images[name] for name in names if name in self._images]
        return used[0] if len(used) == 1 else None

    def log_history(self, stage: str | None, dataset: str, rows: list[dict[str, Any]]) -> None:
        """Logs what a history has gained since it was last logged: a step an epoch."""
        scope = self._scope(stage)
        fresh = rows[scope.rows_logged.get(dataset, 0) :]
        scope.rows_logged[dataset] = len(rows)
        self._log(scope.key, _curve(fresh))

    def log_figures(
        self,
        stage: str | None,
        values: Mapping[str, Any],
        images: ImagesUsed | None = None,
        conditions: Mapping[str, str] | None = None,
        place: int = 0,
    ) -> None:
        """Logs numbers of the stage's run, its model and, if that is registered, its version.

        A number that the stage's run has already is not logged again.

        Args:
            stage: The stage. Numbers of one that has no run of its own here are the whole run's.
            values: Numbers, nested or not; what is no number is left out.
            images: What they were measured on; without, a version gets no tags.
            conditions: Tags for the version: under which its latency was measured.
            place: The step, in the whole run.
        """
        scope, model = self._scope(stage), self._models.get(stage or "")
        numbers = _numbers(values)
        if scope is self._whole:
            fresh = [Measured(name=key, value=numbers[key], step=place) for key in numbers]
        else:
            fresh = [
                Measured(name=key, value=numbers[key])
                for key in numbers
                if key not in scope.metrics
            ]
            scope.metrics.update(numbers)
        self._log(scope.key, fresh, model, images)
        # Versions are compared by their tags, so these must say of which images they are.
        if model is not None and model.registered_name is not None and images is not None:
            self._measured_on[model.registered_name] = images.digest
            self._conditions = dict(conditions or self._conditions)
            tags = {**figures(numbers), **(conditions or {}), MEASURED_ON: images.digest}
            self._recorder.record(TagVersion(model=model.model, tags=tags))

    def log_comparison(
        self,
        table: Mapping[str, Mapping[str, Any]],
        images: ImagesUsed | None,
        latency_depends_on: Iterable[str],
    ) -> None:
        """Logs a table of stages, a row each.

        In the whole run as ``<stage>.<column>``, and as ``<column>`` with the stage's place as
        step, so that one chart is the staircase from the first stage to the last; and as figures
        of the stage.

        Args:
            table: Rows by stage, in their order.
            images: What they were measured on.
            latency_depends_on: Names of parameters.
        """
        self._log(
            self.key,
            [
                Measured(name=f"{stage}.{key}", value=value)
                for stage, row in table.items()
                for key, value in _numbers(row).items()
            ],
        )
        for place, (stage, row) in enumerate(table.items()):
            conditions = self._timed_under(row, latency_depends_on)
            self.log_figures(stage, row, images, conditions, place)
            if self._scope(stage) is not self._whole:
                steps = _numbers(row).items()
                self._log(
                    self.key, [Measured(name=key, value=value, step=place) for key, value in steps]
                )

    def log_model(
        self, stage: str | None, model: OnnxModel, file: Path, registered_name: str | None
    ) -> None:
        """Logs a deployable, once: by the name of the stage that made it."""
        digest = hashlib.sha256(model.content).hexdigest()
        known = self._models.get(model.stage)
        if known is not None and known.tags[SHA256] == digest:
            return
        scope = self._scope(stage)
        tags = {
            **{key: value for key, value in self._tags.items() if key in OF_MODELS},
            STAGE: model.stage,
            SHA256: digest,
            "fingerprint": model.fingerprint,
            "architecture": model.architecture,
        }
        self._models[model.stage] = LogModel(
            run=scope.key,
            model=f"{scope.key}/{model.stage}",
            file=file,
            tags=tags,
            registered_name=registered_name,
        )
        self._recorder.record(self._models[model.stage])

    def log_artifact(self, stage: str | None, file: Path, folder: str) -> None:
        """Logs a file."""
        self._recorder.record(LogArtifact(run=self._scope(stage).key, file=file, folder=folder))

    def log_trial(self, key: str, trial: Mapping[str, Any]) -> None:
        """A run of a trial that is over; it began when its training did."""
        began = now() - round(trial["seconds"] * 1000)
        tags = {STAGE: trial["name"], "method": trial["method"], "seed": str(trial["seed"])}
        tags |= trial.get("tags", {})
        run = self._open_nested(key, tags, began)
        self._recorder.record(LogParameters(run=run, values=_as_parameters(trial["parameters"])))
        self._log(run, _curve(trial["history"]))
        measured = {metric: trial[name] for metric, name in TRIAL_METRICS.items()}
        measured = {**trial.get("evaluation", {}), **measured}
        self._log(
            run, [Measured(name=name, value=value) for name, value in _numbers(measured).items()]
        )
        self._end(run, "FINISHED")

    def log_system_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Samples of the machine, in the whole run."""
        self._log(
            self.key,
            [Measured(name=name, value=value, step=step) for name, value in values.items()],
        )

    def recommend(self, stage: str) -> None:
        """Notes which stage's file is to be shipped."""
        self._recommended = stage
        self._recorder.record(SetTags(run=self.key, tags={"recommended": stage}))

    def _timed_under(self, row: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
        """Under which a row's latency was measured; nothing if it was not."""
        if pd.isna(row.get("latency_ms_batch1", math.nan)):
            return {}
        parameters = {name: self._parameters[name] for name in names if name in self._parameters}
        return {"host_cpu": self._tags["host_cpu"], "runtime": str(row["runtime"]), **parameters}

    def _scope(self, stage: str | None) -> _Scope:
        return self._stages.get(stage or "", self._whole)

    def _open_nested(self, name: str, tags: Mapping[str, str], start_time: int) -> str:
        key = new_key()
        self._recorder.record(
            OpenRun(
                run=key,
                parent=self.key,
                name=name,
                tags={**self._tags, **tags},
                start_time=start_time,
            )
        )
        return key

    def _end(self, key: str, status: Status) -> None:
        self._recorder.record(EndRun(run=key, status=status, end_time=now()))

    def _log(
        self,
        run: str,
        values: Iterable[Measured],
        model: LogModel | None = None,
        images: ImagesUsed | None = None,
    ) -> None:
        values = tuple(values)
        if values:
            self._recorder.record(
                LogMetrics(
                    run=run,
                    values=values,
                    time=now(),
                    model=model.model if model else None,
                    images=images,
                )
            )

    def _move_aliases(self) -> None:
        recommended = self._models.get(self._recommended or "")
        for name, digest in self._measured_on.items():
            ours = recommended is not None and recommended.registered_name == name
            self._recorder.record(
                MoveAliases(
                    registered_name=name,
                    measured_on=digest,
                    conditions=self._conditions,
                    recommended=recommended.model if recommended and ours else None,
                )
            )


def _curve(rows: Iterable[Mapping[str, Any]]) -> list[Measured]:
    return [
        Measured(name=CURVES.get(key, key), value=float(value), step=int(row["epoch"]))
        for row in rows
        for key, value in row.items()
        if key != "epoch"
    ]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of the values is a number, flat."""
    return {
        key: float(value)
        for key, value in flatten(values).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value)
    }


def _as_parameters(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(leaf)[:LONGEST_PARAMETER] for name, leaf in flatten(values).items()}
