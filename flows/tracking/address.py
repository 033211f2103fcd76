"""Where MLflow records: addresses made of paths and read back, so that `?`, `#`, `%` and spaces stay what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:  # MLflow brings it, and whether MLflow is in use is asked where it is not installed too
    from sqlalchemy.engine import URL

VARIABLE = "MLFLOW_TRACKING_URI"


def tracking_address(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or that of `mlflow.db` at the root.

    Raises:
        UnicodeEncodeError: the root's name is no UTF-8, which an address cannot hold.
    """
    return os.environ.get(VARIABLE) or database_address(root.resolve() / "mlflow.db")


def in_use(root: Path) -> bool:
    """Whether MLflow may hold something of a run at this root."""
    return bool(os.environ.get(VARIABLE)) or (root / "mlflow.db").exists()


def database_address(file: Path) -> str:
    """The address of a SQLite file.

    Raises:
        UnicodeEncodeError: its name is no UTF-8.
    """
    from sqlalchemy.engine import URL

    plain = f"sqlite:///{file}"
    address = URL.create("sqlite", database=str(file)).render_as_string()
    # MLflow makes the folder that it reads after `sqlite:///` as it stands; with the driver named it reads nothing.
    return plain if address == plain else address.replace("sqlite:", "sqlite+pysqlite:", 1)


def database_url(address: str) -> URL | None:
    """The address of a database, in parts; None where it is that of a server or a folder."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        return None
    return url if url.get_backend_name() in ("sqlite", "postgresql", "mysql", "mssql") else None


def database_file(url: URL) -> Path | None:
    """The file of a SQLite database; None if it has none, or is named by an address of SQLite's own."""
    name = url.database or ":memory:"
    plain = url.get_backend_name() == "sqlite" and name != ":memory:" and not name.startswith("file:")
    return Path(name) if plain else None


def local_folder(address: str) -> Path | None:
    """The folder that an artifact location names; None if it is not on this machine."""
    parts = urlsplit(address)
    if parts.scheme not in ("", "file"):
        return None
    return Path(url2pathname(parts.path) if parts.scheme else address)


def without_password(address: str) -> str:
    """An address to be shown."""
    url = database_url(address)
    if url is not None:
        return address if url.password is None else url.render_as_string(hide_password=True)
    before, at, after = address.rpartition("@")
    return f"{before.partition('://')[0]}://***@{after}" if at and "://" in before else address
