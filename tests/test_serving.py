"""The logged model behind `mlflow models serve`, asked over HTTP as a client would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier, export_onnx, write_onnx
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model

SHAPE = (1, 12, 12)
STARTS_WITHIN_S = 300
BIN = Path(sys.executable).parent

# A process of its own, so that neither store nor experiment stays behind in this one's MLflow.
LOG = """
import sys
from pathlib import Path

import mlflow

from model_compression.deployment import read_onnx
from model_compression.tracking.logged_models import log_onnx
from model_compression.tracking.registry import SHA256, STAGE, move_aliases, register

folder = Path(sys.argv[1])
experiment = mlflow.create_experiment("serving", artifact_location=str(folder / "artifacts"))
mlflow.set_experiment(experiment_id=experiment)
client = mlflow.MlflowClient()
run_id = client.create_run(experiment).info.run_id
model_id = log_onnx(run_id, read_onnx(folder / "model.onnx"), {})
tags = {SHA256: "0", STAGE: "quantized"}
version = register(client, "tiny", model_id, run_id, tags)
move_aliases(client, "tiny", "", {}, recommended=version)
"""


class Server(NamedTuple):
    address: str
    model: OnnxModel


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_up(process, address, log):
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    torch.manual_seed(0)
    network = build_model(ModelSettings(name="resnet8", options={"width": 4}).spec(SHAPE, 3)).eval()
    model = export_onnx(
        network,
        input_shape=SHAPE,
        normalization=Normalization(mean=(0.4,), std=(0.25,)),
        classes=("top", "middle", "bottom"),
        stage="quantized",
        fingerprint="0123abcd",
        architecture="resnet8",
    )
    write_onnx(model, folder / "model.onnx")
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-c", LOG, str(folder)], env=environment, cwd=folder, check=True
    )
    port = free_port()
    log = folder / "serve.log"
    command = [
        "mlflow",
        "models",
        "serve",
        "--model-uri=models:/tiny@recommended",
        "--env-manager=local",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:], "--host=127.0.0.1", f"--port={port}"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_up(process, address, log)
            yield Server(address, model)
        finally:
            # The command starts a server, which starts a worker: all of them go.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(server, inputs):
    request = urllib.request.Request(
        f"{server.address}/invocations",
        json.dumps({"inputs": inputs}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"]


def test_the_served_model_gives_the_files_logits(server):
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    expected = OnnxRuntimeClassifier(server.model, threads=1).logits(images)
    by_name = ask(server, {"images": images.tolist()})
    np.testing.assert_allclose(by_name["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(ask(server, images.tolist())["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("images", [np.full((1, *SHAPE), 300), np.zeros((1, 1, 9, 9), dtype=int)])
def test_what_is_no_image_of_the_signature_is_refused(server, images):
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(server, {"images": images.tolist()})
