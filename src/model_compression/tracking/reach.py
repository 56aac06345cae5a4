"""Whether a tracking server can be reached, and which errors say that it can't.

Knows MLflow's and HTTP's errors; not what is done about them.
"""

import os

import requests
from mlflow.exceptions import MlflowException, RestException

PROBE_SECONDS = 5
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow's own defaults, 120 s and 7 retries, keep a run waiting for minutes, at every call."""

GATEWAY_ERRORS = (502, 503, 504)
LATER = {401, 403, 408, 429}
"""Answers of HTTP below 500 that another time may be others: rights and load."""
CODES = {
    "INTERNAL_ERROR",  # also of MLflow's client, where no connection comes about
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
    "PERMISSION_DENIED",
}
STORAGE_CLIENTS = {"azure", "boto3", "botocore", "google", "sqlalchemy", "urllib3"}
"""Packages whose errors come from where artifacts or databases are kept."""


def limit_patience() -> None:
    """Makes MLflow's client give up soon, unless the environment says for how long it waits."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def why_unreachable(uri: str) -> str | None:
    """Asks a server over HTTP whether it is there; ``None`` if it is, or is no such server."""
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS)
    except requests.RequestException as error:
        return _first_line(error)
    if answer.status_code in GATEWAY_ERRORS:
        return f"it answers with status {answer.status_code}"
    return None


def is_unreachable(error: BaseException) -> bool:
    """Whether the error is the server's or the way's to it, and not of what was said to it."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code() if isinstance(error, RestException) else None
        return error.error_code in CODES or (status is not None and _may_pass(status))
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _may_pass(error.response.status_code)
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in STORAGE_CLIENTS


def reason(error: BaseException) -> str:
    """The error in a line, for a warning."""
    return _first_line(error)


def _may_pass(status: int) -> bool:
    return status >= 500 or status in LATER


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
