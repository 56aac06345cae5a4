"""Everything that is ever said to MLflow, as data: it can be sent at once, or kept and sent later.

Knows neither MLflow nor Kedro. Runs and models have keys of ours, since MLflow's identifiers are
not known before they were sent. Times are part of an entry, so one that is sent later, or twice,
says the same.
"""

import time
import uuid
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Status = Literal["FINISHED", "FAILED", "KILLED"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class OpenRun(_Entry):
    """Begins a run."""

    kind: Literal["open_run"] = "open_run"
    run: str
    parent: str | None = None
    name: str
    tags: dict[str, str]
    start_time: int
    """Milliseconds since 1970, as all times here."""


class EndRun(_Entry):
    """Ends a run, or says again how it ended."""

    kind: Literal["end_run"] = "end_run"
    run: str
    status: Status
    end_time: int


class SetTags(_Entry):
    """Tags of a run."""

    kind: Literal["set_tags"] = "set_tags"
    run: str
    tags: dict[str, str]


class LogParameters(_Entry):
    """Parameters of a run, flat."""

    kind: Literal["log_parameters"] = "log_parameters"
    run: str
    values: dict[str, str]


class Measured(_Entry):
    """One value of one metric."""

    name: str
    value: float
    step: int = 0


class ImagesUsed(_Entry):
    """An image set by name and fingerprint."""

    name: str
    digest: str


class LogMetrics(_Entry):
    """Metrics of a run, and of a model of it where one is named."""

    kind: Literal["log_metrics"] = "log_metrics"
    run: str
    values: tuple[Measured, ...]
    time: int
    model: str | None = None
    images: ImagesUsed | None = None
    """What the values were measured on."""


class LogInput(_Entry):
    """An image set that a run reads."""

    kind: Literal["log_input"] = "log_input"
    run: str
    images: ImagesUsed
    shape: tuple[int, int, int, int]
    """(N, C, H, W)."""
    classes: int
    source: str
    """Where it lies."""
    context: str


class LogArtifact(_Entry):
    """A file or folder of a run."""

    kind: Literal["log_artifact"] = "log_artifact"
    run: str
    file: Path
    folder: str
    """Where it lies among the run's artifacts."""


class LogModel(_Entry):
    """A deployable as a model of a run; a version of the registered model if one is named."""

    kind: Literal["log_model"] = "log_model"
    run: str
    model: str
    file: Path
    tags: dict[str, str]
    registered_name: str | None = None


class TagVersion(_Entry):
    """Tags of the version that a model is; nothing for a model that is not registered."""

    kind: Literal["tag_version"] = "tag_version"
    model: str
    tags: dict[str, str]


class MoveAliases(_Entry):
    """Points the aliases of a registered model to the versions that now deserve them."""

    kind: Literal["move_aliases"] = "move_aliases"
    registered_name: str
    measured_on: str
    """Fingerprint of the test images: accuracies on others are not compared."""
    conditions: dict[str, str]
    """Tags of versions whose latency is compared: processor, runtime, threads."""
    recommended: str | None = None
    """The model to ship."""


Entry = Annotated[
    OpenRun
    | EndRun
    | SetTags
    | LogParameters
    | LogMetrics
    | LogInput
    | LogArtifact
    | LogModel
    | TagVersion
    | MoveAliases,
    Field(discriminator="kind"),
]

ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
"""Reads an entry from JSON."""


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def new_key() -> str:
    """A key for a run, the like of which there is nowhere."""
    return uuid.uuid4().hex
