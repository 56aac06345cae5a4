"""Ends runs whose process is gone.

Knows MLflow's client and tags of runs. The watcher imports this when a process has died, so nothing
heavier than MLflow's client is imported here.
"""

from collections.abc import Iterable

from mlflow import MlflowClient

from model_compression.tracking.processes import host_id, is_gone

HOST_ID = "host_id"
PROCESS = "process"
"""Tags of every run: where it runs."""


def end_as_killed(client: MlflowClient, runs: Iterable[str]) -> list[str]:
    """Ends those of the runs that are still running; which they were."""
    ended = []
    for run_id in runs:
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")
            ended.append(run_id)
    return ended


def end_left_over(client: MlflowClient, experiment_id: str) -> list[str]:
    """Ends the runs of this host that a process left running which is gone; which they were."""
    running = client.search_runs(
        [experiment_id], f"attributes.status = 'RUNNING' and tags.{HOST_ID} = '{host_id()}'"
    )
    left = (run for run in running if is_gone(host_id(), run.data.tags.get(PROCESS, "")))
    return end_as_killed(client, [run.info.run_id for run in left])
