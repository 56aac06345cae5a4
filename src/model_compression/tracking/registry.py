"""The versions of a registered model: one a file, with tags that say what it is worth, and aliases.

Knows MLflow's registry. Aliases are chosen among all versions by their tags alone:

    most-accurate   the highest accuracy among those judged on the same test images
    smallest        the fewest bytes of the ONNX file among the same
    fastest         the lowest latency of one image among those of these that were timed under the
                    same conditions: processor, runtime, threads
    recommended     the stage that the newest run recommends

Among equals the more accurate version wins, then the smaller, then the newer.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

SHA256 = "sha256"
STAGE = "stage"
MEASURED_ON = "measured_on"
"""Tags of a version: its file, its stage, and the test images that its accuracy is of."""
RECOMMENDED = "recommended"

FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "macro_f1",
    "ece",
    "parameters",
    "nonzero_parameters",
    "macs",
    "file_bytes",
    "packed_bytes",
    "latency_ms_batch1",
    "latency_ms_batch64",
    "size_ratio",
    "speedup_batch1",
)
"""What becomes a tag of a version, where it was measured."""


def register(
    client: MlflowClient, name: str, model_id: str, run_id: str, tags: Mapping[str, str]
) -> str:
    """The version that a file is; a new one only if there is none of the same stage and bytes.

    Args:
        client: Of the registry.
        name: The registered model, which is made if it isn't there.
        model_id: The LoggedModel that a new version is made of.
        run_id: The run that logged it.
        tags: Of the file; ``sha256`` and ``stage`` are what it is recognised by.
    """
    for version in versions_of(client, name):
        if all(version.tags.get(key) == tags[key] for key in (SHA256, STAGE)):
            return str(version.version)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, tags=dict(tags), model_id=model_id
    )
    return str(made.version)


def move_aliases(
    client: MlflowClient,
    name: str,
    measured_on: str,
    conditions: Mapping[str, str],
    recommended: str | None,
) -> None:
    """Points each alias to the version that deserves it now; one that none deserves stays.

    Args:
        client: Of the registry.
        name: The registered model.
        measured_on: Fingerprint of the test images.
        conditions: Tags that versions have if their latency can be compared; none: it can't be.
        recommended: The version to ship, if one is recommended.
    """
    deserved = choose(versions_of(client, name), measured_on, conditions)
    if recommended is not None:
        deserved[RECOMMENDED] = recommended
    for alias, version in deserved.items():
        client.set_registered_model_alias(name, alias, version)


def choose(
    versions: Iterable[ModelVersion], measured_on: str, conditions: Mapping[str, str]
) -> dict[str, str]:
    """Which version each alias goes to, but for ``recommended``."""
    judged = [
        version
        for version in versions
        if version.tags.get(MEASURED_ON) == measured_on
        and not math.isnan(_figure(version, "accuracy"))
    ]
    timed = [
        version
        for version in judged
        if conditions and all(version.tags.get(key) == value for key, value in conditions.items())
    ]
    orders = {
        "most-accurate": (judged, "accuracy", -1),
        "smallest": (judged, "file_bytes", 1),
        "fastest": (timed, "latency_ms_batch1", 1),
    }
    chosen = {}
    for alias, (candidates, figure, sign) in orders.items():
        known = [version for version in candidates if not math.isnan(_figure(version, figure))]
        if known:
            best = min(
                known, key=lambda version: (sign * _figure(version, figure), *_ties(version))
            )
            chosen[alias] = str(best.version)
    return chosen


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a registered model; none if there is no such model."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def figures(values: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a version, out of all that was measured."""
    return {
        key: str(int(values[key]) if float(values[key]).is_integer() else float(values[key]))
        for key in FIGURES
        if key in values
    }


def _figure(version: ModelVersion, name: str) -> float:
    return float(version.tags.get(name, math.nan))


def _ties(version: ModelVersion) -> tuple[float, float, int]:
    size = _figure(version, "file_bytes")
    return (
        -_figure(version, "accuracy"),
        math.inf if math.isnan(size) else size,
        -int(version.version),
    )
