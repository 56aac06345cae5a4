"""Where the time of `kedro run --pipeline=compress` goes: to the stages, or to Kedro and MLflow.

One real run, in a copy of the project in a temporary folder, so that nothing is reused and nothing
of yours is touched. Every call of a hook is timed where Kedro makes it, and so is every load and
save between the two hooks around it; what is left of a node is its own functions. To Kedro and
MLflow is counted, of the time from the first node to the last:

    hooks   all that is tracked, and all else that hooks do, until the run's end is tracked
    loads   datasets read from disk
    saves   datasets written to disk, every epoch's training state among them
    between what Kedro does from one node to the next

Beside it stands the start: from the process's first moment to the first node, imports and the
opening of MLflow's run among them. What MLflow does in threads of its own while a node works is
part of that node's time.

    python benchmarks/whole_run.py
    python benchmarks/whole_run.py --env=smoke
    python benchmarks/whole_run.py --folder=/tmp/whole # which stays, with all that the run made
"""

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).parents[1]
COPIED = ("conf", "src", "pyproject.toml")
LINKED = ("data/01_raw",)
KINDS = ("functions", "hooks", "loads", "saves", "between")

Seconds = dict[str, dict[str, float]]


class Stopwatch:
    """Splits a run's time among stages and kinds, by the calls of hooks that Kedro makes.

    Args:
        stage_of: The stage of a node.
        now: Seconds, of a clock that never goes back.
    """

    def __init__(
        self, stage_of: Callable[[Any], str], now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds: Seconds = defaultdict(lambda: dict.fromkeys(KINDS, 0.0))
        self.nodes: dict[str, set[str]] = defaultdict(set)
        self.by_hook: dict[str, float] = defaultdict(float)
        self.first_node: float | None = None
        self.last: float | None = None
        self._stage_of = stage_of
        self._now = now
        self._depth = 0
        self._stage = ""
        self._before = ""

    def begin(self, hook: str, node: Any) -> None:
        """A hook is about to be called."""
        self._depth += 1
        if self._depth > 1:
            return
        if node is not None:
            if self.first_node is None:
                self.first_node = self.last = self._now()
            self._stage = self._stage_of(node)
            self.nodes[self._stage].add(node.name)
        self._pass(self._kind(hook))

    def end(self, hook: str) -> None:
        """A hook has been called."""
        self._depth -= 1
        if self._depth:
            return
        self.by_hook[hook] += self._pass("hooks")
        self._before = hook

    def _kind(self, hook: str) -> str:
        """Whose the time between the hook that was called before and this one is."""
        between = {
            "after_dataset_loaded": "loads",
            "after_dataset_saved": "saves",
            "before_dataset_loaded": "between",
            "after_pipeline_run": "between",
        }
        if hook == "before_node_run":
            return "between"
        return between.get(hook, "functions")

    def _pass(self, kind: str) -> float:
        now = self._now()
        if self.last is None:
            return 0.0
        passed, self.last = now - self.last, now
        self.seconds[self._stage][kind] += passed
        return passed


def run(project: Path, env: str | None, pipeline: str) -> Stopwatch:
    """Runs a pipeline of the project in ``project`` with a stopwatch on its hooks."""
    from kedro.framework.project import pipelines  # noqa: PLC0415
    from kedro.framework.session import KedroSession  # noqa: PLC0415
    from kedro.framework.startup import bootstrap_project  # noqa: PLC0415

    os.chdir(project)
    bootstrap_project(project)

    def stage_of(node: Any) -> str:
        if node.namespace:
            return str(node.namespace)
        steps = (name for name, step in pipelines.items() if node in step.nodes)
        return next((name for name in steps if name not in (pipeline, "__default__")), pipeline)

    watch = Stopwatch(stage_of)
    with KedroSession.create(project_path=project, env=env) as session:
        # The one place where all calls pass, those of other hooks included.
        session._hook_manager.add_hookcall_monitoring(
            lambda name, implementations, given: watch.begin(name, given.get("node")),
            lambda outcome, name, implementations, given: watch.end(name),
        )
        session.run(pipeline_names=[pipeline])
    return watch


def copy_project(folder: Path) -> None:
    """What a run needs, with nothing that an earlier one made."""
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    for name in LINKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(PROJECT / name, target_is_directory=True)


def share(seconds: Seconds) -> float:
    """Kedro's and MLflow's part of the time, in [0, 1]."""
    every = sum(sum(kinds.values()) for kinds in seconds.values())
    return 1 - sum(kinds["functions"] for kinds in seconds.values()) / every


def main() -> None:
    """Runs, prints the table, and keeps it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", help="of conf/: smoke for a trial; the full run if left out")
    parser.add_argument("--pipeline", default="compress")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--folder", type=Path, help="for the copy, to be made; left out: temporary")
    given = parser.parse_args()
    table = given.table and given.table.resolve()
    # Not a server that the user's own runs are kept on.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    began = psutil.Process().create_time()
    clock = time.time() - time.perf_counter()
    with contextlib.ExitStack() as stack:
        if given.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = given.folder.resolve()
            folder.mkdir(parents=True)
        copy_project(folder)
        try:
            watch = run(folder, given.env, given.pipeline)
        finally:
            os.chdir(PROJECT)
    assert watch.first_node is not None
    start = watch.first_node + clock - began

    # After the run: what it imports belongs to no start but its own.
    from results import FOLDER, keep, surroundings  # noqa: PLC0415

    env = given.env or "base"
    print(f"\n{given.pipeline}, env {env}: {start:.1f} s to the first node")
    print(f"| stage | {' | '.join(KINDS)} | Kedro and MLflow |")
    print("| --- " * (len(KINDS) + 2) + "|")
    total = {kind: sum(kinds[kind] for kinds in watch.seconds.values()) for kind in KINDS}
    rows = []
    for stage, kinds in [*watch.seconds.items(), ("all", total)]:
        part = share({stage: kinds})
        shown = " | ".join(f"{kinds[kind]:.2f}" for kind in KINDS)
        print(f"| {stage} | {shown} | {part:.1%} |")
        rows.append(
            {
                "pipeline": given.pipeline,
                "env": env,
                "stage": stage,
                "nodes": len(watch.nodes.get(stage, ())) or sum(map(len, watch.nodes.values())),
                "seconds": round(sum(kinds.values()), 2),
                **{kind: round(kinds[kind], 3) for kind in KINDS},
                "kedro_and_mlflow": round(part, 4),
                "start": round(start, 2),
                **surroundings("kedro", "mlflow", "kedro-mlflow"),
            }
        )
    for hook, seconds in sorted(watch.by_hook.items(), key=lambda item: -item[1]):
        if seconds >= 0.01:
            print(f"  {hook}: {seconds:.2f} s")
    keep(table or FOLDER / "whole_run.csv", rows, ["pipeline", "env", "stage"])


if __name__ == "__main__":
    main()
