"""Two processes on loopback, started by PyTorch's elastic launcher, against one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training import shared_training

from model_compression.training import ALONE, current_team, launched
from model_compression.training.processes import Place

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # a busy machine takes ten times as long as an idle one


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, shared_training.__file__, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """What both processes got of each case."""
    folder = tmp_path_factory.mktemp("together")
    process = start(str(folder))
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return folder


def results(folder: Path, case: str):
    return [torch.load(folder / f"{case}-{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [("double", 1e-12), ("chance", 1e-12), ("float", 1e-4), ("qat", 1e-3), ("shrinking", 1e-3)],
)
def test_two_processes_train_what_one_does(together, case, tolerance):
    """Batch norms (of network and objective), average, clipping, uneven shares, ranges, cuts."""
    ours, theirs = results(together, case)
    alone = shared_training.train(case)
    for ours_row, row in zip(ours.history, alone.history, strict=True):
        for name in row.keys() - {"seconds"}:
            # The training loss is summed in float32.
            assert ours_row[name] == pytest.approx(row[name], rel=max(tolerance, 1e-6)), name
    for kind in ("weights", "averaged", "objective"):
        expected, got = getattr(alone, kind), getattr(ours, kind)
        assert got.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, rtol=tolerance, atol=tolerance)
            assert torch.equal(getattr(theirs, kind)[name], got[name]), name
    for name, tensor in alone.best.weights.items():
        torch.testing.assert_close(ours.best.weights[name], tensor, rtol=tolerance, atol=tolerance)


def test_half_precision_is_one_processs_up_to_its_rounding(together):
    ours, theirs = results(together, "bfloat16")
    alone = shared_training.train("bfloat16")
    assert ours.history[0]["train_loss"] == pytest.approx(alone.history[0]["train_loss"], rel=5e-3)
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)


def test_what_diverges_in_one_process_ends_all_with_the_same_error(together):
    ours, theirs = results(together, "diverged")
    assert "the loss was nan by step 1 in epoch 1" in ours
    assert theirs == ours


def test_what_was_begun_together_goes_on_in_one_process(together):
    """The whole of a training is in its state, whatever the number of processes that made it."""
    ours, _ = results(together, "double")
    begun = shared_training.train("double", epochs=2)
    finished = shared_training.train("double", resume=begun)
    for name, tensor in finished.weights.items():
        torch.testing.assert_close(ours.weights[name], tensor, rtol=1e-12, atol=1e-12)


def test_a_killed_process_ends_the_others_with_what_to_do(tmp_path):
    process = start(str(tmp_path), "killed")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "pid-1").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "-9" in said or "SIGKILL" in said


def test_without_the_launcher_there_is_one_process_and_nobody_to_wait_for(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # a cluster's own, for something else
    assert launched() is None
    assert current_team() is ALONE
    values = torch.tensor([1.0, 2.0])
    assert ALONE.total(values) is values
    assert ALONE.gathered(values).tolist() == [[1.0, 2.0]]
    assert ALONE.of_leader(lambda: "made") == "made"
    assert ALONE.seed(5) == 5


def test_the_launcher_says_which_process_this_is(monkeypatch):
    values = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert launched() == Place(3, 4, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None
