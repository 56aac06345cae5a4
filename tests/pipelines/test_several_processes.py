"""`torchrun … -m kedro run`: one run, in which two processes train."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch

from model_compression.models import read_tensor_file

PATIENCE = 900  # a busy machine takes ten times as long as an idle one


def torchrun(project: Path, pipelines: str, parameters: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m", "kedro", "run"]
    command += ["--env=smoke", f"--pipelines={pipelines}", f"--params={parameters}", *options]
    environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    ended = subprocess.run(
        command,
        cwd=project,
        env=environment | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout


def stored(project: Path, stage: str):
    return read_tensor_file(project / "data/smoke/06_models" / stage / "training_state.safetensors")


# So small steps that rounding has no time to grow, as it does at the smoke run's learning rates;
# and not bfloat16, which a processor that has it would take: its rounding is as large as they are.
GENTLE = ",".join(
    f"{group}.training.{setting}"
    for group in ("teacher", "distillation")
    for setting in (
        "epochs=1",
        "optimizer.learning_rate=0.0001",
        "schedule.warmup_epochs=0.5",
        "precision=float32",
    )
)
SMALL = "data.train_limit=300,teacher.model.name=resnet8"
STAGES = "data_preparation,teacher,distillation"
UP_TO = "--to-nodes=student.select_best"


def test_torchrun_is_one_run_whose_trainings_are_shared(make_project, run):
    project = make_project("together")
    code, said = torchrun(project, STAGES, f"{SMALL},{GENTLE}", UP_TO)
    assert code == 0, said
    assert said.count("Running node: train:") == 2
    assert said.count("2 processes share each batch") == 1
    assert said.count("the teacher is asked about view 1 of all images") == 1
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("model_compression_smoke")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3, "the run and its two stages"

    # One process trains the same afresh.
    together = {stage: stored(project, stage) for stage in ("teacher", "student")}
    (project / "data/smoke/06_models/teacher/training_state.safetensors").unlink()
    parameters = dict(setting.split("=") for setting in f"{SMALL},{GENTLE}".split(","))
    alone = nested(parameters)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        run(project, "teacher", ["teacher.select_best"], **alone)
    tensors, header = stored(project, "teacher")
    ours, our_header = together["teacher"]
    assert header["best"]["fingerprint"] == our_header["best"]["fingerprint"]
    for name, value in header["history"][0].items():
        if name != "seconds":
            assert our_header["history"][0][name] == pytest.approx(value, rel=1e-3), name
    for name, tensor in tensors.items():
        # A gradient is a small sum of many numbers, of which float32 loses more (0.6 % was seen).
        # A bias, which began at 0, is nothing but gradients yet.
        is_gradients = name.startswith("optimizer/") or name.endswith("bias")
        tolerance = 0.03 if is_gradients else 1e-4
        difference = torch.linalg.vector_norm(ours[name].double() - tensor.double())
        assert difference <= tolerance * torch.linalg.vector_norm(tensor.double()), name


def nested(flat: dict[str, str]) -> dict:
    """As Kedro reads ``--params``."""
    parameters: dict = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        inner = parameters
        for group in groups:
            inner = inner.setdefault(group, {})
        try:
            inner[name] = json.loads(value)
        except ValueError:
            inner[name] = value
    return parameters
