"""Lets a project be moved or copied with its MLflow database.

Knows the database's columns that hold artifact locations, and nothing of runs.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def relocate_artifacts(database: Path, artifacts: Path) -> int:
    """Points every artifact location in the database to ``artifacts``, where they now lie.

    MLflow stores absolute locations. After the project's folder was moved they lead nowhere, and
    new runs would be written to the folder's old place.

    Args:
        database: MLflow's SQLite file; nothing happens if it is not there yet.
        artifacts: The folder that the artifacts lie in, absolute; only locations in a folder of the
            same name are changed.

    Returns:
        How many locations were changed.
    """
    if not database.exists():
        return 0
    changed = 0
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return 0
        stored = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        for (old,) in stored:
            if old == artifacts.as_uri() or not _is_folder_of_that_name(old, artifacts.name):
                continue
            for table, column in LOCATIONS:
                if table not in tables:  # of an older MLflow, which has no such thing
                    continue
                changed += connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (artifacts.as_uri(), len(old) + 1, old, len(old) + 1, f"{old}/"),
                ).rowcount
    return changed


def _is_folder_of_that_name(location: str | None, name: str) -> bool:
    return location is not None and location.startswith("file:") and location.endswith(f"/{name}")
