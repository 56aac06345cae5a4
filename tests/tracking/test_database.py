"""MLflow's database is there as a whole, or not at all."""

import shutil
import sqlite3
from contextlib import closing

import mlflow
import pytest

from model_compression.tracking import database
from model_compression.tracking.database import make_whole


@pytest.fixture
def made(monkeypatch, empty_store):
    """How often a database was made; a copy spares MLflow's migrations."""
    calls = []

    def copy(path, artifacts):
        calls.append(path.name)
        shutil.copy(empty_store, path)

    monkeypatch.setattr(database, "_make", copy)
    return calls


def cut_off(path, empty_store):
    """What a run leaves that was killed while MLflow made its tables."""
    shutil.copy(empty_store, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM experiments")
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_mlflow_finds_its_database_finished(tmp_path):
    path = tmp_path / "mlflow.db"
    assert make_whole(path, tmp_path / "mlartifacts") is None
    (default,) = mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    assert default.artifact_location == f"{(tmp_path / 'mlartifacts').as_uri()}/0"
    assert {each.name for each in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock"}


def test_a_making_that_is_cut_off_leaves_no_database_and_the_next_one_begins_anew(
    tmp_path, monkeypatch, empty_store
):
    def killed(path, _artifacts):
        cut_off(path, empty_store)
        raise KeyboardInterrupt

    path = tmp_path / "mlflow.db"
    with monkeypatch.context() as patched:
        patched.setattr(database, "_make", killed)
        with pytest.raises(KeyboardInterrupt):
            make_whole(path, tmp_path)
    assert not path.exists()

    def needs_a_clean_place(unfinished, _artifacts):
        assert not unfinished.exists()
        shutil.copy(empty_store, unfinished)

    monkeypatch.setattr(database, "_make", needs_a_clean_place)
    make_whole(path, tmp_path)
    assert path.read_bytes() == empty_store.read_bytes()


def test_a_database_that_was_cut_off_is_set_aside(tmp_path, made, empty_store):
    path = tmp_path / "mlflow.db"
    cut_off(path, empty_store)
    before = path.read_bytes()
    aside = make_whole(path, tmp_path)
    assert aside is not None
    assert aside.read_bytes() == before
    assert path.read_bytes() == empty_store.read_bytes()
    assert made == ["mlflow.db.unfinished"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '451aebb31d03'",  # of an older MLflow
        "DELETE FROM experiments",  # `mlflow gc` after all were deleted
    ],
)
def test_a_database_with_anything_to_lose_is_left_as_it_is(tmp_path, made, empty_store, statement):
    path = shutil.copy(empty_store, tmp_path / "mlflow.db")
    change(path, statement)
    before = path.read_bytes()
    assert make_whole(path, tmp_path) is None
    assert path.read_bytes() == before
    assert made == []


def test_what_is_no_database_is_left_to_mlflow(tmp_path, made):
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"something else, which is long enough to be read as a header" * 20)
    assert make_whole(path, tmp_path) is None
    assert made == []
