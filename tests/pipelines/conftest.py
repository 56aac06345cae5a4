import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[2]

# Without batch norms it takes no learning rate of a ResNet's.
_NET = {"model": {"name": "net"}, "training": {"optimizer": {"learning_rate": 0.05}}}
SMALL = {
    "teacher": {"model": {"name": "resnet8"}},
    "distillation": _NET,
    "distillation_benchmark": _NET,
}
"""The smoke environment's networks here, where `make smoke` has ResNets throughout: an export of
one takes three times as long."""


def copy_project(target: Path) -> Path:
    """The project's configuration and raw images, with small networks and a data folder."""
    (target / "data").mkdir(parents=True)
    for file in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / file, target)
    shutil.copytree(ROOT / "conf", target / "conf")
    smoke = target / "conf" / "smoke" / "parameters.yml"
    parameters = yaml.safe_load(smoke.read_text())
    for group, change in SMALL.items():
        parameters[group] = _merged(parameters[group], change)
    smoke.write_text(yaml.safe_dump(parameters))
    (target / "src").mkdir()  # the package is installed; Kedro wants the folder
    (target / "data" / "01_raw").symlink_to(ROOT / "data" / "01_raw")
    return target


def _merged(given: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return given | {
        key: _merged(given.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in change.items()
    }


def run_project(
    project: Path,
    pipeline: str = "__default__",
    to_nodes: list[str] | None = None,
    **parameters: Any,
) -> None:
    """`kedro run --env=smoke --pipeline=… --to-nodes=… --params=…`, in this process."""
    saved = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        with chdir(project):
            bootstrap_project(project)
            with KedroSession.create(project, env="smoke", runtime_params=parameters) as session:
                session.run(pipeline_names=[pipeline], to_nodes=to_nodes)
    finally:
        while mlflow.active_run() is not None:
            mlflow.end_run("FAILED")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if saved is not None:
            os.environ["MLFLOW_TRACKING_URI"] = saved


@pytest.fixture(scope="session")
def new_database(tmp_path_factory) -> Path:
    """What MLflow makes for a new project before its first row, which takes it seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(f"sqlite:///{folder / 'filled.db'}").search_experiments()
    with closing(sqlite3.connect(folder / "filled.db")) as filled:
        filled.execute("VACUUM INTO ?", (str(folder / "mlflow.db"),))
    with closing(sqlite3.connect(folder / "mlflow.db")) as empty, empty:
        # The default experiment, whose artifacts belong beside the project that will use it.
        empty.execute("DELETE FROM experiments")
    return folder / "mlflow.db"


@pytest.fixture
def make_project(tmp_path, new_database) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        project = copy_project(tmp_path / name)
        shutil.copy(new_database, project)
        return project

    return make


@pytest.fixture(scope="module")
def compressed(tmp_path_factory) -> Path:
    """A project, without a database, in which the smoke environment's `compress` has run once."""
    project = copy_project(tmp_path_factory.mktemp("compressed") / "project")
    run_project(project)
    return project


@pytest.fixture(scope="module")
def learned(tmp_path_factory, new_database) -> Path:
    """A project in which the smoke environment's `without_forgetting` has run once."""
    project = copy_project(tmp_path_factory.mktemp("learned") / "project")
    shutil.copy(new_database, project)
    run_project(project, "data_preparation")
    run_project(project, "without_forgetting")
    return project


@pytest.fixture(scope="module")
def taught(tmp_path_factory, new_database) -> Path:
    """A project with the smoke environment's images and teacher."""
    project = copy_project(tmp_path_factory.mktemp("taught") / "project")
    shutil.copy(new_database, project)
    run_project(project, to_nodes=["teacher.select_best"])
    return project


@pytest.fixture(scope="module")
def benchmarked(taught, tmp_path_factory) -> Path:
    """A copy of it in which the smoke environment's `distillation_benchmark` has run once."""
    project = tmp_path_factory.mktemp("benchmarked") / "project"
    shutil.copytree(taught, project, symlinks=True)
    run_project(project, "distillation_benchmark")
    return project


@pytest.fixture
def run() -> Callable[..., None]:
    return run_project


@pytest.fixture
def parameters_of() -> Callable[..., dict[str, Any]]:
    """Reads and checks the parameters as a run would, without running anything."""

    def read(project: Path, **parameters: Any) -> dict[str, Any]:
        with chdir(project):
            bootstrap_project(project)
            with KedroSession.create(project, env="smoke", runtime_params=parameters) as session:
                return session.load_context().params

    return read
