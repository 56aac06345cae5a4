import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse

import mlflow
import pytest

from model_compression.relocation import relocate_artifacts


@pytest.fixture
def project(tmp_path):
    """A folder with a database and one run that has an artifact."""
    folder = tmp_path / "before"
    folder.mkdir()
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment(
        "trial", artifact_location=(folder / "mlartifacts").as_uri()
    )
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "kept", "note.txt")
    return folder, run.info.run_id


def test_artifacts_are_found_after_the_project_was_moved(project, tmp_path):
    before, run_id = project
    after = tmp_path / "after"
    shutil.move(before, after)
    assert relocate_artifacts(after / "mlflow.db", after / "mlartifacts") >= 2
    client = mlflow.MlflowClient(f"sqlite:///{after / 'mlflow.db'}")
    location = Path(urlparse(client.get_run(run_id).info.artifact_uri).path)
    assert (location / "note.txt").read_text() == "kept"
    assert location.is_relative_to(after)
    new = client.create_run(client.get_run(run_id).info.experiment_id)
    assert new.info.artifact_uri.startswith((after / "mlartifacts").as_uri())


def test_a_database_of_an_mlflow_that_knew_no_logged_models_follows_too(project, tmp_path):
    before, run_id = project
    with closing(sqlite3.connect(before / "mlflow.db")) as connection, connection:
        connection.execute("DROP TABLE logged_models")
    after = tmp_path / "after"
    shutil.move(before, after)
    assert relocate_artifacts(after / "mlflow.db", after / "mlartifacts") >= 2
    with closing(sqlite3.connect(after / "mlflow.db")) as connection:
        ((location,),) = connection.execute(
            "SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)
        )
    assert location.startswith((after / "mlartifacts").as_uri())


def test_nothing_changes_where_the_project_stands(project):
    folder, _ = project
    assert relocate_artifacts(folder / "mlflow.db", folder / "mlartifacts") == 0


def test_artifacts_kept_elsewhere_stay_there(project, tmp_path):
    folder, _ = project
    assert relocate_artifacts(folder / "mlflow.db", tmp_path / "store") == 0


def test_before_the_first_run_there_is_nothing_to_do(tmp_path):
    assert relocate_artifacts(tmp_path / "mlflow.db", tmp_path / "mlartifacts") == 0
    (tmp_path / "mlflow.db").touch()
    assert relocate_artifacts(tmp_path / "mlflow.db", tmp_path / "mlartifacts") == 0
