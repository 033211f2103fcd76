"""What the tests ask for: two tiny tasks, unless they say otherwise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.tiny import TINY
from typer.testing import CliRunner, Result

from flows.cli.app import app
from flows.request import SequenceRequest


def tiny_request(*overrides: str, **fields: Any) -> SequenceRequest:  # noqa: ANN401
    given = {"tasks": "1-2", "goal": 0.6, "run": "tiny", **fields}
    return SequenceRequest("digits-5", overrides=(*TINY, *overrides), **given)


def parameters(request: SequenceRequest, root: Path, *, track: bool = False) -> dict[str, Any]:
    """The same as parameters of the flow."""
    return {**asdict(request), "overrides": list(request.overrides), "root": str(root), "track": track}


def arguments(request: SequenceRequest, root: Path) -> list[str]:
    """The same as arguments of the command line."""
    named = {"tasks": request.tasks, "goal": request.goal, "run": request.run, "method": request.method, "root": root}
    options = [text for name, value in named.items() for text in (f"--{name}", str(value))]
    return ["run", request.sequence, *options, *(text for item in request.overrides for text in ("--set", item))]


def cpg(*words: object, answer: str | bytes | None = None) -> Result:
    """A command, run in this process; `answer` is what is typed."""
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)
