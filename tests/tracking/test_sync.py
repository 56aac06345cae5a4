"""A real server on loopback: what it missed comes later, once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from model_compression.commands.sync_tracking import sync_tracking
from model_compression.tracking.entries import OpenRun
from model_compression.tracking.outbox import Identifiers, waiting
from model_compression.tracking.reach import is_unreachable
from model_compression.tracking.recorder import Recorder
from model_compression.tracking.sender import connect

STARTS_WITHIN_S = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Relay:
    """A way to a server that can be cut."""

    def __init__(self, port):
        self._target = port
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self):
        listener = self._sockets[0]
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source, target):
        try:
            while chunk := source.recv(65536):
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def server(uri, tmp_path):
    """`mlflow server`, with a database that has its tables."""
    port = free_port()
    command = [
        *(str(Path(sys.executable).parent / "mlflow"), "server", "--host=127.0.0.1"),
        *(f"--port={port}", f"--backend-store-uri={uri}", "--workers=1"),
        f"--artifacts-destination={tmp_path / 'served'}",
    ]
    log = tmp_path / "server.log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ends = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < ends, log.read_text()[-3000:]
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_goes_in_mid_run_gets_all_of_it_later_and_once(
    server, header, track, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    relay, outbox = Relay(server), tmp_path / "outbox"
    address, direct = f"http://127.0.0.1:{relay.port}", f"http://127.0.0.1:{server}"
    header = header.model_copy(
        update={
            "uri": address,
            "experiment": header.experiment.model_copy(update={"artifact_location": None}),
        }
    )
    sender = connect(address, header.experiment, Identifiers())
    recorder = Recorder(sender, outbox, header, is_unreachable)
    track(recorder, midway=relay.cut)
    assert not recorder.online
    assert caplog.text.count("can't be reached") == 1

    client = mlflow.MlflowClient(direct)
    experiment = client.get_experiment_by_name("trials").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED", "RUNNING"]

    away = CliRunner().invoke(sync_tracking, [f"--outbox={outbox}"])
    assert away.exit_code == 1
    assert "can't be reached" in away.output

    there = CliRunner().invoke(sync_tracking, [f"--outbox={outbox}", f"--to={direct}"])
    assert there.exit_code == 0, there.output
    assert f"compress a=1: sent to {direct}" in there.output
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "compress a=1": "FINISHED",
        "teacher": "FINISHED",
        "student": "FINISHED",
    }
    (note,) = client.list_artifacts(runs["compress a=1"].info.run_id, "reporting")
    assert note.path == "reporting/note.txt"
    models = client.search_logged_models([experiment])
    assert sorted(model.name for model in models) == ["student", "teacher"]
    assert set(client.get_registered_model("shipped").aliases) == {
        "fastest",
        "most-accurate",
        "recommended",
        "smallest",
    }
    again = CliRunner().invoke(sync_tracking, [f"--outbox={outbox}", f"--to={direct}"])
    assert (again.exit_code, "Nothing waits" in again.output) == (0, True)
    assert len(client.search_runs([experiment])) == 3


def test_a_run_that_is_under_way_is_left_for_later(header, tmp_path):
    recorder = Recorder(None, tmp_path / "outbox", header, is_unreachable)
    recorder.record(OpenRun(run="a", name="compress", tags={}, start_time=1))
    result = CliRunner().invoke(sync_tracking, [f"--outbox={tmp_path / 'outbox'}"])
    assert result.exit_code == 0
    assert "still under way" in result.output
    assert len(list(waiting(tmp_path / "outbox"))) == 1
