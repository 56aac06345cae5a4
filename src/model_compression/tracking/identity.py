"""A run's name, and the tags that tell it from other trials.

Knows what was asked of Kedro, git and this machine; not MLflow's client.
"""

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.tracking.context.databricks_command_context import DatabricksCommandRunContext
from mlflow.tracking.context.databricks_job_context import DatabricksJobRunContext
from mlflow.tracking.context.databricks_notebook_context import DatabricksNotebookRunContext
from mlflow.tracking.context.databricks_repo_context import DatabricksRepoRunContext
from mlflow.tracking.context.jupyter_notebook_context import JupyterNotebookRunContext
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from model_compression.machine import processor
from model_compression.parameters import flatten
from model_compression.reporting.provenance import commit
from model_compression.tracking.ending import HOST_ID, PROCESS
from model_compression.tracking.processes import host_id, this_process

NOTEBOOKS = (
    JupyterNotebookRunContext,
    DatabricksNotebookRunContext,
    DatabricksJobRunContext,
    DatabricksCommandRunContext,
    DatabricksRepoRunContext,
)
LONGEST_NAME = 200
LONGEST_TAG = 5000
SELECTIONS = {
    "tags": "tags",
    "node_names": "nodes",
    "from_nodes": "from-nodes",
    "to_nodes": "to-nodes",
    "from_inputs": "from-inputs",
    "to_outputs": "to-outputs",
}
"""What can be chosen of a pipeline: Kedro's names, and its options."""


@dataclass(frozen=True)
class Trial:
    """What was asked for."""

    pipelines: Sequence[str]
    environment: str | None = None
    """``None``: the project's own default."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """The parameters given on the command line, nested or not."""
    selection: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Parts of the pipeline, by Kedro's names (``SELECTIONS``)."""

    @classmethod
    def from_kedro(cls, run_params: Mapping[str, Any], default: str) -> "Trial":
        """Of the mapping that Kedro hands to its hooks.

        Args:
            run_params: Kedro's.
            default: What the pipeline ``__default__`` is called otherwise.
        """
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name")]
        return cls(
            pipelines=[default if name in (None, "__default__") else name for name in names],
            environment=run_params.get("env"),
            overrides=run_params.get("runtime_params") or run_params.get("extra_params") or {},
            selection={key: run_params[key] for key in SELECTIONS if run_params.get(key)},
        )

    @property
    def pipeline(self) -> str:
        """The pipelines' names, in one word."""
        return "+".join(self.pipelines)

    @property
    def overridden(self) -> list[str]:
        """``key=value``, sorted."""
        return [f"{key}={value}" for key, value in sorted(flatten(self.overrides).items())]

    @property
    def name(self) -> str:
        """Says what the run is a trial of: pipeline, environment, and all that was overridden."""
        environment = [f"[{self.environment}]"] if self.environment else []
        selected = [f"{key}={value}" for key, value in self._selected()]
        name = " ".join([self.pipeline, *environment, *selected, *self.overridden])
        return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"

    @property
    def command(self) -> str:
        """The command that asks for the same again."""
        pipelines = "pipeline" if len(self.pipelines) == 1 else "pipelines"
        words = ["kedro", "run", f"--{pipelines}={','.join(self.pipelines)}"]
        words += [f"--env={self.environment}"] if self.environment else []
        words += [f"--{key}={value}" for key, value in self._selected()]
        words += [f"--params={','.join(self.overridden)}"] if self.overridden else []
        return shlex.join(words)

    def tags(self, folder: Path) -> dict[str, str]:
        """Tags for the run and all runs in it.

        Args:
            folder: The project's, of whose git commit the run is.
        """
        sha, _, changes = (commit(folder) or "").partition(" ")
        tags = {
            "pipeline": self.pipeline,
            "environment": self.environment or "",
            "overrides": " ".join(self.overridden),
            "kedro_command": self.command,
            "git_commit": sha,
            "git_dirty": str(bool(changes)).lower() if sha else "",
            "host": platform.node(),
            "host_cpu": processor(),
            HOST_ID: host_id(),
            PROCESS: this_process(),
            **surroundings(),
            MLFLOW_GIT_COMMIT: sha,
        }
        return {key: value[:LONGEST_TAG] for key, value in tags.items() if value}

    def _selected(self) -> list[tuple[str, str]]:
        return [
            (SELECTIONS[key], ",".join([chosen] if isinstance(chosen, str) else chosen))
            for key, chosen in self.selection.items()
        ]


def surroundings() -> dict[str, str]:
    """What MLflow finds out of where this runs.

    It would import IPython, which takes most of a second, to hear that this is no notebook.
    """
    may_be_one = "IPython" in sys.modules or "DATABRICKS_RUNTIME_VERSION" in os.environ
    ignored: list[Any] = [] if may_be_one else list(NOTEBOOKS)
    return dict(resolve_tags(ignore=ignored))
