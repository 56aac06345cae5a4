"""Where a result comes from: what it takes to make it again.

Knows this process and this machine; what was made is told to it.
"""

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_compression.machine import processor
from model_compression.reporting.readings import Evaluation, text

PACKAGES = (
    "model-compression",
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "kedro",
    "plotly",
)

_FINGERPRINTS = {
    "train_images": "training images",
    "validation_images": "validation images",
    "test_images": "test images",
}
"""What a stage's evaluation calls the images, and what people call them."""


def gather_provenance(
    evaluations: Mapping[str, Evaluation], data: str, **facts_of_the_run: str
) -> dict[str, Any]:
    """What the report's last section needs.

    Args:
        evaluations: By stage; their fingerprints cover data, parameters and sources.
        data: The images' name.
        facts_of_the_run: What else is worth saying of it, such as how latency was measured.

    Returns:
        ``data``, ``command``, ``created``, ``commit``, ``machine``, the facts, ``versions``, and
        the fingerprints of images, parameters and stages. What cannot be found out is left out.
    """
    facts: dict[str, Any] = {
        "data": data,
        "command": command(sys.argv),
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(Path.cwd()),
        "machine": f"{processor()}, {platform.system()}",
        **facts_of_the_run,
        "versions": {"Python": platform.python_version()} | _versions(),
        "fingerprints_of_images": _images(evaluations),
        "fingerprints_of_parameters": {
            stage: found
            for stage, evaluation in evaluations.items()
            if (found := _fingerprint(evaluation, "parameters"))
        },
        "fingerprints_of_stages": {
            stage: text(evaluation, "fingerprint") for stage, evaluation in evaluations.items()
        },
    }
    return {key: value for key, value in facts.items() if value}


def command(arguments: Sequence[str]) -> str:
    """The shell command of this process, without the folder that its program lies in.

    Where Kedro's environment comes from the variable KEDRO_ENV, the command says so too.
    """
    typed = shlex.join([Path(arguments[0]).name, *arguments[1:]])
    environment = os.environ.get("KEDRO_ENV")
    names_one = any(re.match(r"--env(=|$)|-e", argument) for argument in arguments[1:])
    return (
        f"KEDRO_ENV={shlex.quote(environment)} {typed}" if environment and not names_one else typed
    )


def commit(folder: Path) -> str | None:
    """The git commit of ``folder``, marked where files differ from it; ``None`` outside of git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + (" with local changes" if changed else "")


def _images(evaluations: Mapping[str, Evaluation]) -> dict[str, str]:
    """By set of images its fingerprint, with the stages where they differ in it."""
    found: dict[str, str] = {}
    for key, name in _FINGERPRINTS.items():
        of: dict[str, list[str]] = {}
        for stage, evaluation in evaluations.items():
            if value := _fingerprint(evaluation, key):
                of.setdefault(value, []).append(stage)
        for value, stages in of.items():
            found[name if len(of) == 1 else f"{name} of {', '.join(stages)}"] = value
    return found


def _fingerprint(evaluation: Evaluation, key: str) -> str:
    return text(evaluation.get("fingerprints") or {}, key)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
