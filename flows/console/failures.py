"""One line for an error that is no fault of this program: a full disk, a missing right, a killed worker."""

from __future__ import annotations

import errno
import json
import sqlite3
from concurrent.futures import BrokenExecutor

from cpg_core.errors import CpgError, first_line, one_line

ADVICE = {
    errno.ENOSPC: "no space left on the disk; free some, and give the same command again to go on",
    errno.EDQUOT: "the disk quota is used up; free some space, and give the same command again to go on",
    errno.EACCES: "permission denied; change the rights, or choose another folder with --root",
    errno.EPERM: "not permitted; change the rights, or choose another folder with --root",
    errno.EROFS: "the file system is read-only; choose another folder with --root",
    errno.ENOLCK: "the file system has no locks; choose a folder on another one with --root",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder; a file was expected",
    errno.EEXIST: "a file or folder of this name is in the way",
    errno.EMFILE: "too many open files; raise the limit: ulimit -n 4096",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk or the connection to it reports an error",
    errno.ECONNREFUSED: "the connection was refused; is the server running?",
}
"""By error number: what is wrong, and what helps."""


EXTRAS = {
    "prefect": "workflow",
    "fastapi": "workflow",
    "mlflow": "workflow",
    "sqlalchemy": "workflow",  # MLflow brings it
    "dvc": "workflow",
    "scipy": "workflow",
    "matplotlib": "workflow",
    "tabulate": "workflow",
    "jinja2": "workflow",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "prefect_dask": "dask",
}
"""The extra of `pyproject.toml` that a package comes with."""


def described(error: BaseException) -> str | None:
    """The line for an error that may be foreseen; None for one that is a fault of this program.

    Args:
        error: anything that was raised.
    """
    match error:
        case CpgError():
            return str(error)
        case OSError():
            return _of_system(error)
        case UnicodeDecodeError():
            return f"a file is not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8"
        case json.JSONDecodeError():
            return f"a file is not valid JSON: {_short(error)}"
        case MemoryError():
            return "not enough memory; try a smaller batch_size, or fewer --workers"
        case BrokenExecutor():
            return "a worker process was killed (by hand, or because memory ran out)"
        case ModuleNotFoundError(name=str(name)) if (package := name.partition(".")[0]) in EXTRAS:
            return f"this needs {package}, which is not installed: pip install -e '.[{EXTRAS[package]}]'"
        case ImportError():
            return f"a package is missing or broken: {_short(error)}; install again: pip install -e ."
        case sqlite3.Error():
            return f"a database cannot be used: {_short(error)}"
        case _ if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for this
            return "the GPU has not enough memory; try a smaller batch_size, or compute.device=cpu"
        case _:
            return None


def _of_system(error: OSError) -> str:
    """`PATH: what is wrong`; libraries raise some with a message alone."""
    advice = ADVICE.get(error.errno) if error.errno is not None else None
    what = advice or error.strerror or _short(error)
    return f"{error.filename}: {what}" if error.filename else what


def _short(error: BaseException) -> str:
    """The first line of a message, cut to a length."""
    return one_line(first_line(error))
