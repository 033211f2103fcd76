"""A database that MLflow records in without a server: made whole, and tried before MLflow is."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from flows.tracking.address import database_address, database_file


def make_whole(url: URL) -> None:
    """Make a SQLite database that is not there yet aside, and put it in its place when it is whole.

    MLflow takes seconds to make its tables. A process killed meanwhile would leave some of them, which no later one
    can add to.
    """
    database = database_file(url)
    if database is None or database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock"), fallback_to_soft=False):
        if not database.exists():
            aside = database.with_name(f".{database.name}.part")
            aside.unlink(missing_ok=True)
            MlflowClient(tracking_uri=database_address(aside)).search_experiments(max_results=1)
            aside.replace(database)


def require_writable(url: URL) -> None:
    """Connect once. MLflow would try to for two minutes, and notice that a file is read-only after the first task.

    Raises:
        SQLAlchemyError: the database is away, locked, damaged or may not be written.
        ModuleNotFoundError: its driver is not installed.
    """
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.rollback()
    finally:
        engine.dispose()


def artifacts_moved(file: Path, before: str, now: str) -> None:
    """Let everything that a SQLite database of MLflow names below one place be looked for below another.

    MLflow keeps the place of each experiment, run and model as an absolute address, and has no command that changes it.

    Args:
        file: the database.
        before: the address of the old place.
        now: that of the new one.
    """
    engine = create_engine(URL.create("sqlite", database=str(file)))
    try:
        with engine.begin() as connection:
            for table, column in PLACES:
                connection.exec_driver_sql(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
    finally:
        engine.dispose()


PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's tables that hold the address of an artifact."""
