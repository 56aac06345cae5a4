"""Where a result comes from: what it takes to make it again.

Knows this process and this machine; what was made is told to it.
"""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_compression.reporting.readings import Evaluation, text

PACKAGES = (
    "model-compression",
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "kedro",
)


def gather_provenance(evaluations: Mapping[str, Evaluation], data: str) -> dict[str, Any]:
    """What the report's last section needs.

    Args:
        evaluations: By stage; their fingerprints cover data, parameters and sources.
        data: The images' name.

    Returns:
        ``data``, ``command``, ``created``, ``commit``, ``machine``, ``versions``, ``fingerprints``.
        What cannot be found out is left out.
    """
    facts: dict[str, Any] = {
        "data": data,
        "command": command(sys.argv),
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(Path.cwd()),
        "machine": f"{processor()}, {platform.system()}",
        "versions": {"Python": platform.python_version()} | _versions(),
        "fingerprints": {
            stage: text(evaluation, "fingerprint") for stage, evaluation in evaluations.items()
        },
    }
    return {key: value for key, value in facts.items() if value}


def command(arguments: Sequence[str]) -> str:
    """The shell command of this process, without the folder that its program lies in."""
    return shlex.join([Path(arguments[0]).name, *arguments[1:]])


def commit(folder: Path) -> str | None:
    """The git commit of ``folder``, marked where files differ from it; ``None`` outside of git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + (" with local changes" if changed else "")


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
