import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from model_compression.tracking.reach import is_unreachable, why_unreachable


@pytest.fixture
def answering():
    """Addresses that answer every request with a status."""
    servers = []

    def serve(status):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_dead_port_is_found_out_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    assert "refused" in why_unreachable(address)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("status", "is_there"), [(200, True), (401, True), (404, True), (503, False)]
)
def test_whoever_answers_is_there_but_for_a_gateway_without_a_server(answering, status, is_there):
    assert (why_unreachable(answering(status)) is None) == is_there


def test_a_database_is_not_asked():
    assert why_unreachable("sqlite:///nowhere/mlflow.db") is None


def answer(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(), True),
        (requests.ReadTimeout(), True),
        (MlflowException("API request failed with exception …"), True),
        (MlflowException("locked", TEMPORARILY_UNAVAILABLE), True),
        (RestException({"error_code": "PERMISSION_DENIED"}), True),
        (answer(503), True),
        (answer(403), True),
        (answer(400), False),
        (MlflowException("no", INVALID_PARAMETER_VALUE), False),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST"}), False),
        (FileNotFoundError(), False),
        (TypeError(), False),
    ],
)
def test_an_error_of_the_way_is_told_from_one_of_what_was_said(error, expected):
    assert is_unreachable(error) is expected
