"""MLflow's SQLite file beside the project: there as a whole, or not at all.

Knows the file and how MLflow begins it, and nothing of runs. MLflow makes its tables one migration
after the other, each of which stays when the process is killed; where it was cut off, it never gets
on ("table already exists").
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from filelock import FileLock
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def make_whole(database: Path, artifacts: Path) -> Path | None:
    """Makes the database under another name, then gives it its own; one cut off is set aside.

    A database that holds an experiment is left as it is: MLflow's own first one is the last thing
    that it writes on beginning a database, so that none has anything to lose without it.

    Args:
        database: MLflow's SQLite file, absolute; it may be missing.
        artifacts: Where the artifacts of MLflow's first experiment would be kept, absolute.

    Returns:
        What the file that was cut off is called now; ``None`` if there was none.
    """
    if not _is_to_be_made(database):
        return None
    with FileLock(database.with_name(f"{database.name}.lock")):
        if not _is_to_be_made(database):  # another run has made it meanwhile
            return None
        unfinished = database.with_name(f"{database.name}.unfinished")
        for left_over in (unfinished, *_companions(unfinished)):
            left_over.unlink(missing_ok=True)
        _make(unfinished, artifacts)
        aside = None
        if database.exists():
            aside = database.with_name(f"{database.name}.cut-off")
            os.replace(database, aside)
            for companion in _companions(database):
                companion.unlink(missing_ok=True)
        os.replace(unfinished, database)
    return aside


def _make(database: Path, artifacts: Path) -> None:
    store = SqlAlchemyStore(f"sqlite:///{database}", artifacts.as_uri())
    store.engine.dispose()  # it would hold the file under the name that it is about to lose


def _is_to_be_made(database: Path) -> bool:
    """Whether the file is missing or was begun and not finished."""
    if not database.exists():
        return True
    try:
        with closing(sqlite3.connect(database)) as connection:
            if _has_row(connection, "experiments"):
                return False
            return not _has_row(
                connection, "alembic_version", "version_num", _get_latest_schema_revision()
            )
    except sqlite3.DatabaseError:
        return False  # busy, so in use; or no database, of which MLflow speaks


def _has_row(
    connection: sqlite3.Connection, table: str, column: str = "1", value: str | int = 1
) -> bool:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if table not in tables:
        return False
    found = connection.execute(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", (value,))
    return found.fetchone() is not None


def _companions(database: Path) -> tuple[Path, ...]:
    """What SQLite keeps beside a file that was being written."""
    return tuple(
        database.with_name(f"{database.name}-{ending}") for ending in ("journal", "wal", "shm")
    )
