"""What becomes of an error at the edge of the command line: a line and an exit code, whatever was raised."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cpg_core.errors import CpgError
from cpg_core.training.reporter import Interrupted
from flows.cli.errors import OneLineErrors
from flows.console.failures import described


def of_system(number: int, path: str | None = "some/file") -> OSError:
    return OSError(number, os.strerror(number), path)


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


FORESEEN: dict[str, tuple[BaseException, int, str]] = {
    "mistake": (CpgError("goal: expected a number"), 2, "error: goal: expected a number"),
    "rights": (of_system(errno.EACCES), 1, "error: some/file: permission denied; change the rights"),
    "read-only": (of_system(errno.EROFS), 1, "error: some/file: the file system is read-only"),
    "disk full": (of_system(errno.ENOSPC), 1, "error: some/file: no space left on the disk; free some"),
    "disk full, no name": (of_system(errno.ENOSPC, None), 1, "error: no space left on the disk; free some"),
    "no locks": (of_system(errno.ENOLCK), 1, "error: some/file: the file system has no locks"),
    "missing": (of_system(errno.ENOENT), 1, "error: some/file: there is no such file or folder"),
    "another number": (of_system(errno.EBUSY), 1, f"error: some/file: {os.strerror(errno.EBUSY)}"),
    "of a library": (OSError("image file is truncated"), 1, "error: image file is truncated"),
    "nothing said": (TimeoutError(), 1, "error: TimeoutError"),
    "no UTF-8": (
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        1,
        "error: a file is not UTF-8 text",
    ),
    "no JSON": (json.JSONDecodeError("Expecting value", "", 0), 1, "error: a file is not valid JSON: Expecting value"),
    "memory": (MemoryError(), 1, "error: not enough memory"),
    "GPU memory": (OutOfMemoryError("CUDA out of memory. Tried"), 1, "error: the GPU has not enough memory"),
    "killed worker": (BrokenProcessPool("x"), 1, "error: a worker process was killed"),
    "package": (ModuleNotFoundError("No module named 'dvc'"), 1, "error: a package is missing or broken: No module"),
    "database": (sqlite3.OperationalError("database is locked"), 1, "error: a database cannot be used: database is"),
}


def raising(error: BaseException, *, command: str = "run", debug: str | None = None) -> Result:
    app = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @app.command(command)
    def failing() -> None:
        raise error

    @app.command()
    def other() -> None:
        """A second one, so that the first is called by its name."""

    return CliRunner().invoke(app, [command], env={"CPG_DEBUG": debug})


@pytest.mark.parametrize("error, code, line", FORESEEN.values(), ids=FORESEEN)
def test_an_error_is_one_line(error: BaseException, code: int, line: str) -> None:
    result = raising(error)
    assert result.exit_code == code
    assert result.stderr.startswith(line), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_fault_of_ours_leaves_its_traceback_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert described(KeyError("ours")) is None
    result = raising(KeyError("ours"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: a fault of cpg itself: KeyError: 'ours'\n")
    assert "Traceback" not in result.stderr
    (log,) = tmp_path.iterdir()
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text() and "raise error" in log.read_text()


def test_a_traceback_that_cannot_be_written_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "Traceback" in raising(KeyError("ours")).stderr


@pytest.mark.parametrize("error", [KeyError("ours"), CpgError("a mistake")], ids=["fault", "mistake"])
def test_debugging_prints_the_traceback(error: Exception) -> None:
    assert "Traceback" in raising(error, debug="1").stderr


@pytest.mark.parametrize("error", [Interrupted(), KeyboardInterrupt()], ids=["saved", "at once"])
@pytest.mark.parametrize("command", ["run", "show"])
def test_stopped(error: BaseException, command: str) -> None:
    result = raising(error, command=command)
    assert result.exit_code == 130
    assert result.stderr.startswith("stopped")
    assert ("what was learned is saved" in result.stderr) == (command == "run")


def test_typers_own_errors_keep_their_codes() -> None:
    assert raising(typer.Exit(3)).exit_code == 3
    assert raising(typer.BadParameter("no such option")).exit_code == 2
