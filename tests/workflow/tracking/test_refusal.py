"""What MLflow's exceptions mean: it is away and will be back, or it refuses and somebody has to do something."""

from __future__ import annotations

import errno
import sqlite3
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos import databricks_pb2 as codes
from mlflow.store.db.utils import _get_latest_schema_revision
from sqlalchemy.exc import IntegrityError, OperationalError

from flows.tracking.refusal import Outage, Refusal, Refused, judge

HEAD = str(_get_latest_schema_revision())
"""A revision of the tables that the MLflow installed here knows."""

ADDRESS = "http://me:secret@mlflow.example:5000"


def database(said: str) -> OperationalError:
    """As SQLAlchemy raises it: the driver's own error is its cause."""
    return caused(OperationalError("SELECT 1", {}, inner := sqlite3.OperationalError(said)), inner)


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


def while_handling(error: Exception, by: BaseException) -> Exception:
    error.__context__ = by
    return error


def schema(found: str) -> MlflowException:
    return MlflowException(
        f"Detected out-of-date database schema (found version {found}, but expected aaaa). Take a backup of your "
        "database, then run 'mlflow db upgrade <database_uri>'"
    )


def answered(status: int, body: str, code: int) -> MlflowException:
    """An answer that is no JSON."""
    endpoint = "API request to endpoint /api/2.0/mlflow/experiments/get-by-name"
    return MlflowException(f"{endpoint} failed with error code {status} != 200. Response body: '{body}'", code)


OUTAGES: dict[str, Exception] = {
    "nobody listens": while_handling(
        MlflowException("API request to http://h failed with exception Max retries exceeded"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ),
    "timeout": caused(MlflowException("failed with timeout exception"), TimeoutError("timed out")),
    "a proxy without a server": answered(502, "Bad Gateway", codes.INTERNAL_ERROR),
    "busy": answered(503, "", codes.TEMPORARILY_UNAVAILABLE),
    "too many requests": RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}),
    "the server's own fault": RestException({"error_code": "INTERNAL_ERROR", "message": "oops"}),
    "locked": caused(MlflowException("locked", codes.TEMPORARILY_UNAVAILABLE), database("database is locked")),
    "full": database("database or disk is full"),
    "no space": OSError(errno.ENOSPC, "No space left on device"),
    "postgres is away": database("connection to server at localhost failed: Connection refused"),
}


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_what_passes_is_an_outage(error: Exception) -> None:
    assert isinstance(judge(error, ADDRESS), Outage)


def _encoding() -> Exception:
    try:
        "bad\udcff".encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


HOST = "Invalid Host header - possible DNS rebinding attack detected"
REFUSALS: dict[str, tuple[Callable[[], Exception], str]] = {
    "host check": (
        lambda: answered(403, HOST, codes.PERMISSION_DENIED),
        "mlflow server --allowed-hosts mlflow.example:5000,",
    ),
    "no rights": (lambda: RestException({"error_code": "PERMISSION_DENIED", "message": "no"}), "MLFLOW_TRACKING_"),
    "no such page": (lambda: answered(404, "Not Found", codes.ENDPOINT_NOT_FOUND), "no MLflow server answers at"),
    "another server": (
        lambda: MlflowException("API request was successful but the response body was not in a valid JSON format"),
        "no MLflow server answers at",
    ),
    "older tables": (lambda: schema(HEAD), "mlflow db upgrade"),
    "newer tables": (lambda: schema("ffffffffffff"), "pip install --upgrade mlflow"),
    "newer tables, some missing": (
        lambda: ValueError("Can't locate revision identified by 'ffffffffffff'"),
        "pip install --upgrade mlflow",
    ),
    "a folder": (
        lambda: MlflowException("The filesystem tracking backend (e.g., './mlruns')", codes.INVALID_PARAMETER_VALUE),
        "MLFLOW_TRACKING_URI=sqlite:///mlflow.db",
    ),
    "unknown scheme": (
        lambda: while_handling(MlflowException("got unsupported URI 'foo://bar' for"), KeyError("foo")),
        "must begin with http://",
    ),
    "read-only, as MLflow calls it": (
        lambda: caused(MlflowException("", codes.TEMPORARILY_UNAVAILABLE), database("write a readonly database")),
        "writable",
    ),
    "a folder without rights": (lambda: PermissionError(errno.EACCES, "Permission denied", "mlflow.db"), "writable"),
    "a read-only file system": (lambda: OSError(errno.EROFS, "Read-only file system"), "writable"),
    "no locks": (lambda: OSError(errno.ENOSYS, "Function not implemented"), "no locks: name a place on a local disk"),
    "no database": (lambda: database("file is not a database"), "move it aside"),
    "no driver": (lambda: ModuleNotFoundError("No module named 'psycopg'", name="psycopg"), "not installed: psycopg"),
    "no UTF-8": (_encoding, "rename the folder"),
    "no home": (lambda: RuntimeError("Could not determine home directory."), "set HOME"),
    "no certificate": (
        lambda: while_handling(MlflowException("failed"), ssl.SSLError(1, "WRONG_VERSION_NUMBER")),
        "https://",
    ),
    "our own": (lambda: Refused("the place is gone", "bring it back"), "bring it back"),
    "a fault of ours": (lambda: KeyError("sequence"), "--no-track learns without MLflow"),
    "a row that is there": (
        lambda: IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed")),
        "--no-track learns without MLflow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("error, helps", REFUSALS.values(), ids=REFUSALS)
def test_what_stays_is_a_refusal_that_says_what_helps(error: Callable[[], Exception], helps: str) -> None:
    found = judge(error(), ADDRESS)
    assert isinstance(found, Refusal)
    assert helps in found.advice
    assert found.why and len(found.why) <= 200


def test_no_password_and_no_statement_is_shown() -> None:
    for error in (*OUTAGES.values(), *(make() for make, _ in REFUSALS.values())):
        told: Any = judge(error, ADDRESS)
        text = f"{told.why} {getattr(told, 'advice', '')}"
        assert "secret" not in text and "[SQL" not in text and "\n" not in text
    assert "hunter2" not in str(judge(schema(HEAD), "postgresql://me:hunter2@h/x"))


def test_what_mlflow_says_is_whole_or_said_to_be_cut() -> None:
    path = "/somewhere/" + "/".join(["a-rather-long-name"] * 20)
    assert judge(MlflowException(f"cannot use {path}"), ADDRESS).why == f"cannot use {path}"
    assert judge(MlflowException("<p>not JSON</p> " * 500), ADDRESS).why.endswith(" ... (cut)")
