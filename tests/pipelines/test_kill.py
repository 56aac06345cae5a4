"""Real processes, really killed: nothing is lost, and the weights come out the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from kedro.io import DatasetError

from model_compression.models import read_tensor_file

from .conftest import run_project

STAGES = ("teacher", "student", "pruned", "quantized")
EPOCHS = 3
# Two cuts, one before the first epoch and one before the last, so that a killed training goes on
# with a network that is narrower than the one it began with and wider than the one it ends with.
SCHEDULE = {"name": "iterative", "steps": 3, "end": 0.9}
PARAMETERS: dict[str, Any] = {
    "teacher": {"training": {"epochs": EPOCHS}},
    # An epoch of this network takes long enough to be killed in.
    "distillation": {"training": {"epochs": EPOCHS}, "model": {"name": "resnet8"}},
    "pruning": {"training": {"epochs": EPOCHS}, "pruning": {"ratio": 0.5, "schedule": SCHEDULE}},
    "quantization": {"training": {"epochs": EPOCHS}},
}
LAST = "quantized.keep_accuracy"  # all that is trained, and no more
SECONDS_TO_WAIT = 900  # a busy machine takes ten times as long as an idle one


def leaves(parameters: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """As `--params` takes them: names with dots, and their values."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def start(project: Path) -> subprocess.Popen[bytes]:
    parameters = ",".join(f"{name}={value}" for name, value in leaves(PARAMETERS))
    command = [sys.executable, "-m", "kedro", "run", "--env=smoke", f"--params={parameters}"]
    command.append(f"--to-nodes={LAST}")
    environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    with (project / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, cwd=project, stdout=log, stderr=log, env=environment | {"COLUMNS": "160"}
        )


def kill_in(project: Path, stage: str, deadly: signal.Signals = signal.SIGKILL) -> None:
    """Runs the pipeline and kills it when an epoch of ``stage``, but not its last, is done."""
    state = project / "data" / "smoke" / "06_models" / stage / "training_state.safetensors"
    process = start(project)
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not state.exists():
        assert process.poll() is None, (project / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, deadly)
    process.wait()
    _, header = read_tensor_file(state)
    assert 0 < header["epoch"] < EPOCHS, "killed too late: the test proves nothing"


def finish(project: Path) -> str:
    process = start(project)
    assert process.wait(SECONDS_TO_WAIT) == 0, (project / "log.txt").read_text()
    return (project / "log.txt").read_text()


def statuses(project: Path) -> dict[str, list[str]]:
    """How the runs ended in MLflow: whole ones and, of the first of them, the stages'."""
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("model_compression_smoke")
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    whole = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    ended = {"compress": [run.info.status for run in whole]}
    for run in runs:
        assert run.info.status != "RUNNING"
        if run.data.tags.get("mlflow.parentRunId") == whole[0].info.run_id:
            ended.setdefault(run.data.tags["stage"], []).append(run.info.status)
    return ended


def weights_of(project: Path, stage: str) -> dict[str, torch.Tensor]:
    path = project / "data" / "smoke" / "06_models" / stage / "model.safetensors"
    tensors, _ = read_tensor_file(path)
    return tensors


def test_killed_thrice_and_run_again_gives_bit_identical_weights(make_project):
    whole, killed = make_project("whole"), make_project("killed")
    run_project(whole, to_nodes=[LAST], **PARAMETERS)
    kill_in(killed, "teacher", signal.SIGTERM)
    for stage in ("pruned", "quantized"):
        kill_in(killed, stage)
    log = finish(killed)
    assert "teacher: goes on after epoch" in log
    assert "student: nothing has changed" in log
    assert "pruned: goes on after epoch" in log
    assert "before epoch 3 of 3 it is cut" in log
    assert "quantized: goes on after epoch" in log
    for stage in STAGES:
        expected, actual = weights_of(whole, stage), weights_of(killed, stage)
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected), stage
    assert statuses(killed) == {"compress": ["KILLED"] * 3 + ["FINISHED"], "teacher": ["KILLED"]}


def test_damaged_state_stops_the_run_by_name(make_project):
    project = make_project("damaged")
    state = project / "data" / "smoke" / "06_models" / "teacher" / "training_state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a training state")
    with pytest.raises(DatasetError, match=r"teacher/training_state\.safetensors"):
        run_project(project, to_nodes=[LAST], **PARAMETERS)
    assert state.read_bytes() == b"not a training state"
