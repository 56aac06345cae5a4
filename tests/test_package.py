import os
import subprocess
import sys

QUESTION = """
import model_compression
import mlflow
from mlflow.telemetry.client import get_telemetry_client

print(get_telemetry_client() is None)
"""


def asked(**changes: str) -> str:
    # MLflow sends nothing from tests, which it knows by their variables.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "MLFLOW_DISABLE_TELEMETRY") and not name.startswith("PYTEST")
    }
    process = subprocess.run(
        [sys.executable, "-c", QUESTION],
        check=True,
        env=environment | changes,
        capture_output=True,
        text=True,
    )
    return process.stdout.strip()


def test_mlflow_sends_no_usage_data_unless_it_is_told_to():
    assert asked() == "True"
    assert asked(MLFLOW_DISABLE_TELEMETRY="true") == "True"
