"""A path that becomes an address is that path again when it is read, whatever its name is made of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from flows.tracking.address import database_address, database_file, database_url, local_folder, without_password
from flows.tracking.place import artifact_place, follow_move

ODD = "a?b#c%41 d&e=f;ü'"


@pytest.mark.parametrize("name", ["plain", ODD, "100%", "?", "x?timeout=60"])
def test_a_database_lies_where_its_path_says(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    address = database_address(home / "mlflow.db")
    url = database_url(address)
    assert url is not None and database_file(url) == home / "mlflow.db"
    with create_engine(address).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
    assert sqlite3.connect(home / "mlflow.db").execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    assert {path.name for path in tmp_path.rglob("*")} == {name, "mlflow.db"}


@pytest.mark.parametrize("name", ["plain", ODD])
def test_artifacts_lie_where_their_path_says(tmp_path: Path, name: str) -> None:
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import append_to_uri_path

    place = artifact_place(tmp_path / name)
    assert local_folder(place) == tmp_path / name / "mlartifacts"
    below = append_to_uri_path(place, "run", "artifacts")
    assert local_file_uri_to_path(below) == str(tmp_path / name / "mlartifacts" / "run" / "artifacts")


def test_the_query_of_an_address_is_no_part_of_its_path() -> None:
    url = database_url("sqlite:///x.db?timeout=60")
    assert url is not None and database_file(url) == Path("x.db") and url.query == {"timeout": "60"}


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x.db?uri=true"])
def test_a_database_without_a_file_of_its_own(address: str) -> None:
    assert database_file(make_url(address)) is None


@pytest.mark.parametrize("address", ["http://h:5000", "https://h", "./mlruns", "file:/tmp/x", "databricks", "foo://b"])
def test_what_is_no_database(address: str) -> None:
    assert database_url(address) is None


def test_where_artifacts_are_elsewhere_there_is_no_folder() -> None:
    assert local_folder("s3://bucket/x") is local_folder("mlflow-artifacts:/1") is None
    assert local_folder("/a?b") == Path("/a?b")


@pytest.mark.parametrize(
    "address", ["http://me:hunter2@h:5000", "postgresql://me:hunter2@h/x", "mysql+pymysql://me:hunter2@h/x"]
)
def test_no_password_is_shown(address: str) -> None:
    assert "hunter2" not in without_password(address)
    assert without_password("http://h:5000/x") == "http://h:5000/x"


def test_artifacts_that_another_root_keeps_in_this_database_stay_where_they_are(tmp_path: Path) -> None:
    """They are there, and beside them is no database that was copied along."""
    kept = tmp_path / "other" / "mlartifacts"
    kept.mkdir(parents=True)
    assert follow_move(tmp_path / "here", artifact_place(tmp_path / "other")) is None
