"""Where the benchmarks write: CSV files whose rows name the machine and the versions.

Knows tables; what is measured is each benchmark's own business.
"""

import csv
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from model_compression.machine import processor

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"


def surroundings(*packages: str) -> dict[str, Any]:
    """The machine, and the versions of Python, PyTorch and further packages, as columns."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{package: _version(package) for package in packages},
    }


def spread(name: str, values: Sequence[float]) -> dict[str, float | str]:
    """Median, smallest and largest of repeats, as three columns; empty where there are none."""
    if not values:
        return dict.fromkeys((name, f"{name}_smallest", f"{name}_largest"), "")
    return {
        name: round(statistics.median(values), 4),
        f"{name}_smallest": round(min(values), 4),
        f"{name}_largest": round(max(values), 4),
    }


def keep(table: Path, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Puts rows into a table, in place of those that have the same values under ``key``.

    What another processor has measured stays beside them.

    Args:
        table: A CSV file; it need not be there yet.
        rows: At least one; all with the same columns.
        key: Columns that say what was measured.
    """
    key = [*key, *(name for name in ("processor",) if name in rows[0])]
    new = [{name: str(value) for name, value in row.items()} for row in rows]
    measured = {tuple(row[name] for name in key) for row in new}
    kept = []
    if table.exists():
        with table.open(newline="") as file:
            kept = list(csv.DictReader(file))
    kept = [row for row in kept if tuple(row.get(name, "") for name in key) not in measured]
    columns = list(dict.fromkeys(name for row in [*new, *kept] for name in row))
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *new])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
