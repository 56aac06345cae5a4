"""What MLflow's being away, or a trial of one's own, does to `kedro run`."""

import socket
import sqlite3
from contextlib import closing

import pytest

from model_compression.tracking import hook
from model_compression.tracking.entries import EndRun, OpenRun
from model_compression.tracking.outbox import FOLDER, waiting


def test_a_server_that_is_away_costs_no_result_and_is_warned_of_once(make_project, run, caplog):
    project = make_project("away")
    (project / "mlflow.db").unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with (project / "conf" / "smoke" / "mlflow.yml").open("a") as file:
        file.write(f"\nserver:\n  mlflow_tracking_uri: {uri}\n")
    run(project, "data_preparation", data={"seed": 1})
    assert (project / "data" / "smoke" / "05_model_input" / "normalization.json").exists()
    assert caplog.text.count("can't be reached") == 1
    assert not (project / "mlflow.db").exists()
    (journal,) = waiting(project / FOLDER)
    header, entries = journal.header(), journal.entries()
    assert (header.uri, header.experiment.name) == (uri, "model_compression_smoke")
    opened, ended = entries[0], entries[-1]
    assert isinstance(opened, OpenRun)
    assert opened.name == "data_preparation [smoke] data.seed=1"
    assert opened.tags["overrides"] == "data.seed=1"
    assert isinstance(ended, EndRun)
    assert ended.status == "FINISHED"


@pytest.fixture
def half_made(make_project):
    """A project whose MLflow database a process left that was killed while it made it."""
    project = make_project("half-made")
    with closing(sqlite3.connect(project / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    return project


def test_artifacts_follow_the_project_in_a_database_that_is_whole(
    half_made, parameters_of, monkeypatch, caplog
):
    found = []

    def look(database, artifacts):
        with closing(sqlite3.connect(database)) as connection:
            found.extend(connection.execute("SELECT artifact_location FROM experiments"))
        return 0

    monkeypatch.setattr(hook, "relocate_artifacts", look)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    parameters_of(half_made)
    assert found == [(f"{(half_made / 'mlartifacts').as_uri()}/0",)]
    assert "mlflow.db.cut-off" in caplog.text
