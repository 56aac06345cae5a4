import os
import signal
import subprocess
import sys
import time

import mlflow
import psutil
import pytest

from model_compression.tracking.ending import HOST_ID, PROCESS, end_left_over
from model_compression.tracking.lifetime import Lifetime
from model_compression.tracking.processes import host_id, is_gone, this_process
from model_compression.tracking.watcher import read_until_death

SECONDS_TO_WAIT = 120
TRAINING = """
import sys
import time

import mlflow

from model_compression.tracking.ending import end_as_killed
from model_compression.tracking.lifetime import Lifetime

uri, run_id = sys.argv[1:]
lifetime = Lifetime(lambda: end_as_killed(mlflow.MlflowClient(uri), [run_id]))
lifetime.begin()
lifetime.watch(uri, [run_id])
print(lifetime._watcher.pid, flush=True)
time.sleep(600)
"""


def wait_until(condition):
    ends = time.monotonic() + SECONDS_TO_WAIT
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_whose_process_is_killed_ends_as_killed(uri, deadly):
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, uri, run_id], stdout=subprocess.PIPE, text=True
    )
    watcher = int(process.stdout.readline())
    assert client.get_run(run_id).info.status == "RUNNING"
    process.send_signal(deadly)
    assert process.wait(SECONDS_TO_WAIT) == {signal.SIGKILL: -9, signal.SIGTERM: 143}[deadly]
    wait_until(lambda: client.get_run(run_id).info.status == "KILLED")
    wait_until(lambda: not psutil.pid_exists(watcher))


def test_the_watcher_goes_with_its_run_and_signals_mean_what_they_did():
    before = signal.getsignal(signal.SIGTERM)
    lifetime = Lifetime(lambda: None)
    began = time.monotonic()
    lifetime.begin()
    assert time.monotonic() - began < 2
    watcher = lifetime._watcher
    lifetime.watch("sqlite://", ["a"])
    assert watcher.poll() is None
    lifetime.end()
    assert watcher.poll() == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_watcher_that_was_killed_disturbs_nothing():
    lifetime = Lifetime(lambda: None)
    lifetime.begin()
    lifetime._watcher.kill()
    lifetime._watcher.wait()
    lifetime.watch("sqlite://", ["a"])
    lifetime.end()


@pytest.mark.parametrize(
    ("written", "runs"),
    [
        (b"", []),
        (b'{"uri": "x", "runs": ["a"]}', []),
        (b'{"uri": "x", "runs": ["a"]}\n', ["a"]),
        (b'{"uri": "x", "runs": ["a"]}\n{"uri": "x", "ru', ["a"]),
        (b'{"uri": "x", "runs": ["a"]}\n{"uri": "", "runs": []}\n', []),
    ],
)
def test_the_last_whole_line_counts(written, runs):
    reader, writer = os.pipe()
    os.write(writer, written)
    os.close(writer)
    try:
        assert read_until_death(reader, os.getppid())["runs"] == runs
    finally:
        os.close(reader)


def test_a_parent_that_is_gone_counts_as_much_as_the_end_of_the_input():
    reader, writer = os.pipe()
    try:
        assert read_until_death(reader, parent=-1) == {"runs": []}
    finally:
        os.close(reader)
        os.close(writer)


def test_the_next_run_ends_what_a_power_cut_left(uri):
    client = mlflow.MlflowClient(uri)
    number, _, started = this_process().partition("@")
    tags = {
        "gone": {HOST_ID: host_id(), PROCESS: f"{number}@{float(started) - 100}"},
        "here": {HOST_ID: host_id(), PROCESS: this_process()},
        "elsewhere": {HOST_ID: "another", PROCESS: "1@1.0"},
        "untagged": {},
    }
    runs = {name: client.create_run("0", tags=tags[name]).info.run_id for name in tags}
    finished = client.create_run("0", tags=tags["gone"]).info.run_id
    client.set_terminated(finished, "FINISHED")
    assert end_left_over(client, "0") == [runs["gone"]]
    statuses = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert statuses == {
        "gone": "KILLED",
        "here": "RUNNING",
        "elsewhere": "RUNNING",
        "untagged": "RUNNING",
    }
    assert client.get_run(finished).info.status == "FINISHED"


def test_only_a_process_that_is_surely_gone_is_gone():
    assert not is_gone(host_id(), this_process())
    assert not is_gone("another host", "1@1.0")
    assert not is_gone(host_id(), "no process")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = f"{ended.pid}@{psutil.Process(ended.pid).create_time():.2f}"
    ended.wait()
    assert is_gone(host_id(), process)
