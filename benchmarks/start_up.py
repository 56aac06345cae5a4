"""How long `kedro run` takes to its first node.

A few times, each time by a new process, in a copy of the project in a temporary folder; the clock
stops when Kedro says that it runs the first node, which is the only one of the run. The first
process is not counted: it warms the disk's cache and makes MLflow's database. Beside the seconds
that pass stand those that a core worked for the process until then, which tell more of a machine
that has other things to do.

Beside the runs stands, by turns, what none of them can be faster than: a process that does no more
than import Kedro's command line, PyTorch, pandas and MLflow, and open MLflow's database, with the
garbage collector off. What a run takes beyond that is the project's own, and its plug-ins'.

    python benchmarks/start_up.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from results import FOLDER, keep, spread, surroundings
from whole_run import copy_project

MARK = "Running node"
FIRST_NODE = "read_images"
RUN = "from kedro.framework.cli import main; main()"
LIBRARIES = "the libraries alone"
IMPORT = f"""
import gc
gc.disable()
import kedro.framework.cli, torch, pandas, mlflow
mlflow.MlflowClient("sqlite:///mlflow.db").search_experiments()
print("{MARK}: none", flush=True)
"""


class Start(NamedTuple):
    """Of a process, until it ran its first node."""

    seconds: float
    cpu_seconds: float
    """Of all its threads, by the user's and the system's clock."""


def time_to_first_node(command: list[str], folder: Path) -> Start:
    """Runs a command in a folder, to its end.

    Raises:
        SystemExit: If it fails, or ends without having run a node.
    """
    began = time.perf_counter()
    found = None
    said = []
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if found is None and MARK in line:
                worked = psutil.Process(process.pid).cpu_times()
                found = Start(time.perf_counter() - began, worked.user + worked.system)
    if process.returncode or found is None:
        raise SystemExit(f"{' '.join(command)} ran no node:\n{''.join(said)}")
    return found


def main() -> None:
    """Measures, prints the median, and keeps it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", default="base,smoke", help="of conf/, with commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--table", type=Path, default=FOLDER / "start_up.csv")
    given = parser.parse_args()
    # Not a server that the user's own runs are kept on.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    commands = {
        f"kedro {' '.join(said)}": [sys.executable, "-c", RUN, *said]
        for said in (
            ["run", f"--env={env}", f"--nodes={FIRST_NODE}"] for env in given.envs.split(",")
        )
    }
    commands[LIBRARIES] = [sys.executable, "-c", IMPORT]  # the last, when there is a database
    turns: list[dict[str, Start]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy_project(Path(folder))
        for _ in range(given.repeats + 1):
            turns.append(
                {name: time_to_first_node(line, Path(folder)) for name, line in commands.items()}
            )
    print(f"| command | s | smallest to largest | CPU s | against {LIBRARIES} |")
    print("| --- " * 5 + "|")
    rows = []
    for name in commands:
        seconds = [turn[name].seconds for turn in turns[1:]]
        cpu = [turn[name].cpu_seconds for turn in turns[1:]]
        against = [turn[name].seconds / turn[LIBRARIES].seconds for turn in turns[1:]]
        print(
            f"| {name} | {statistics.median(seconds):.1f} | "
            f"{min(seconds):.1f} to {max(seconds):.1f} | {statistics.median(cpu):.1f} | "
            f"{statistics.median(against):.2f} |"
        )
        rows.append(
            {
                "command": name,
                "repeats": given.repeats,
                **spread("seconds", seconds),
                **spread("cpu_seconds", cpu),
                **spread("against_libraries", against),
                **surroundings("kedro", "mlflow"),
            }
        )
    keep(given.table, rows, ["command"])


if __name__ == "__main__":
    main()
