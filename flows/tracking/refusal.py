"""Why MLflow did not record: it is away and will be back, or it refuses, and somebody has to do something.

An outage is made good by the next time; a refusal comes again until it is mended. What is not known is a refusal, so
that nothing goes unrecorded unsaid.
"""

from __future__ import annotations

import errno
import shlex
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from urllib3.exceptions import HTTPError, LocationParseError

from cpg_core.errors import first_line, one_line
from cpg_core.storage.lock import NO_LOCKS
from flows.tracking.address import VARIABLE, without_password

PASSING_ERRNO = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN,
}  # fmt: skip
PASSING_CODES = {
    "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED",
    "ABORTED",
}  # fmt: skip
"""Of MLflow's error codes; INTERNAL_ERROR too, if a server sent it, since MLflow's own code has it for anything."""

LASTING_DATABASE = (
    ("readonly database", "make the file and its folder writable"),
    ("unable to open database file", "the file and its folder must be there and writable"),
    ("file is not a database", "it is damaged or no database: move it aside, and a new one is made"),
    ("malformed", "it is damaged: move it aside, and a new one is made"),
    ("no such table", "its tables are not MLflow's: move it aside, or name another"),
    ("no such column", "its tables are not MLflow's: move it aside, or name another"),
    ("authentication failed", "the address must hold a user and a password that the database takes"),
    ("access denied", "the address must hold a user and a password that the database takes"),
    ("does not exist", "make the database first"),
    ("unknown database", "make the database first"),
)
"""What a database says that does not pass, and what helps. Whatever else it says (locked, full, away) passes."""

DATABASE_AWAY = (sqlite3.OperationalError, OperationalError, InterfaceError, PoolTimeout)

LOGIN = ("PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED")
WITHOUT = "--no-track learns without MLflow"


@dataclass(frozen=True)
class Refusal:
    """MLflow does not record, and will not until somebody does what `advice` says."""

    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.why}; {self.advice}"


@dataclass(frozen=True)
class Outage:
    """MLflow cannot record just now."""

    why: str


class Refused(Exception):
    """Raised by ourselves where MLflow would go on and do harm."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.advice = advice


def judge(error: BaseException, address: str) -> Outage | Refusal:
    """What an exception of MLflow, or of what it stands on, means.

    Args:
        error: as it was caught, with its causes.
        address: the one that was asked.
    """
    why = one_line(first_line(error))  # SQLAlchemy's other lines are the statement
    for cause in _innermost_first(error):  # the first cause knows best: MLflow calls every failed write unavailable
        if _passes(cause):
            return Outage(why)
        if (advice := _advice(cause, address)) is not None:
            return Refusal(why, advice)
    return Refusal(why, f"{VARIABLE} is {without_password(address)}; {WITHOUT}")


def _innermost_first(error: BaseException) -> Iterator[BaseException]:
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if inner is not None:
        yield from _innermost_first(inner)
    yield error


def _passes(error: BaseException) -> bool:
    """Whether it says that something is away, busy or full."""
    if isinstance(error, ssl.SSLError | LocationParseError):
        return False
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | HTTPError):
        return True
    if isinstance(error, DATABASE_AWAY):
        return _database_advice(error) is None
    if isinstance(error, OSError):
        return error.errno in PASSING_ERRNO
    code, text = getattr(error, "error_code", ""), str(error)
    by_server = hasattr(error, "json") or "failed with error code 5" in text
    return code in PASSING_CODES or (code == "INTERNAL_ERROR" and by_server)


def _advice(error: BaseException, address: str) -> str | None:
    """What helps; None if this exception alone does not tell."""
    if isinstance(error, Refused):
        return error.advice
    if isinstance(error, ssl.SSLError):
        return "http:// or https://? MLFLOW_TRACKING_SERVER_CERT_PATH names a certificate to trust"
    if isinstance(error, sqlite3.Error | SQLAlchemyError):
        return _database_advice(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{without_password(address)} needs a driver that is not installed: {error.name}"
    if isinstance(error, UnicodeEncodeError):
        return f"rename the folder, or name a place outside it in {VARIABLE}; {WITHOUT}"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"make it writable, or name another place in {VARIABLE}"
    if isinstance(error, OSError) and error.errno in NO_LOCKS:
        return f"its file system has no locks: name a place on a local disk in {VARIABLE}; {WITHOUT}"
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "set HOME to a folder that may be written"
    return _said_advice(getattr(error, "error_code", ""), str(error), address)


def _said_advice(code: str, text: str, address: str) -> str | None:
    """What helps against what MLflow itself, its server or its migrations say."""
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return _schema_advice(text, address)
    if "Invalid Host header" in text:
        name = urlsplit(address).netloc.rpartition("@")[2]
        return f"start the server with: mlflow server --allowed-hosts {name},localhost:*"
    if code in LOGIN:
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if code == "ENDPOINT_NOT_FOUND" or "not in a valid JSON format" in text:
        return f"no MLflow server answers at {without_password(address)}"
    if "filesystem tracking backend" in text:
        return f"set {VARIABLE}=sqlite:///mlflow.db; mlflow migrate-filestore takes over what is there"
    if "unsupported URI" in text:
        return f"{VARIABLE} must begin with http://, https://, sqlite:///, postgresql:// or mysql://"
    return None


def _schema_advice(text: str, address: str) -> str:
    revisions = (word.strip("'(),") for word in text.partition("but expected")[0].split())
    if any(_is_revision(word) for word in revisions):
        return f"make a copy of the database, then: mlflow db upgrade {shlex.quote(without_password(address))}"
    return "the database is of a newer MLflow than the one installed here: pip install --upgrade mlflow"


def _is_revision(word: str) -> bool:
    """Whether the MLflow installed here knows a revision of the tables by this name."""
    found = find_spec("mlflow")
    if found is None or found.origin is None or not word.isalnum():
        return False
    versions = Path(found.origin).parent / "store" / "db_migrations" / "versions"
    return any(versions.glob(f"{word}_*.py"))


def _database_advice(error: BaseException) -> str | None:
    text = str(error).lower()
    return next((advice for said, advice in LASTING_DATABASE if said in text), None)
