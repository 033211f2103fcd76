"""The edge of the command line, where every error becomes a line and an exit code."""

from __future__ import annotations

import os
import tempfile
import traceback
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from cpg_core.errors import CpgError
from flows.console.failures import described

DEBUG = "CPG_DEBUG"
"""The environment variable that has the traceback of an error printed."""

SAVED = {**dict.fromkeys(("run", "add", "import", "compare", "reproduce"), "learned"), "align": "aligned"}
"""The commands that save what they have done when they are stopped, and what that is."""


class ExitCode(IntEnum):
    """What the shell is told; 0: done."""

    FAILED = 1
    MISTAKE = 2
    INCOMPLETE = 3
    INTERRUPTED = 130


class OneLineErrors(TyperGroup):
    """Commands whose errors are messages: one line for an error, and how to go on after a stop."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (as in click)
        """Run the command."""
        from cpg_core.training.reporter import Interrupted

        try:
            return super().invoke(ctx)
        except (typer.Abort, BrokenPipeError):
            raise  # `cpg show | head` is ended quietly by typer
        except (Interrupted, KeyboardInterrupt):
            done = SAVED.get(ctx.invoked_subcommand)
            saved = f"; what was {done} is saved. Give the same command again to go on." if done else ""
            typer.echo(f"stopped{saved}", err=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            if hasattr(error, "exit_code"):
                raise  # typer's own: a wrong option, or a command that has ended
            typer.echo(f"error: {message_of(error)}", err=True)
            raise typer.Exit(ExitCode.MISTAKE if isinstance(error, CpgError) else ExitCode.FAILED) from None


def message_of(error: Exception) -> str:
    """What is printed of an error: its line, or where the traceback of a fault of this program is."""
    stack = "".join(traceback.format_exception(error))
    line = described(error)
    if os.environ.get(DEBUG):
        return f"{line or 'a fault of cpg itself'}\n{stack}"
    if line is not None:
        return line
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"a fault of cpg itself: {what}\nPlease report it with the traceback, which is in {_write(stack)}"


def _write(stack: str) -> str:
    """The file that a traceback was written to."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="cpg-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(stack)
    except OSError:
        return f"this message:\n{stack}"
    return file.name


def end_of_learning(unrecorded: str | None) -> None:
    """The end of a command that learns."""
    if unrecorded:
        typer.echo(f"learned, but not recorded in MLflow: {unrecorded}\nThe same command again records it.", err=True)
        raise typer.Exit(ExitCode.INCOMPLETE)
