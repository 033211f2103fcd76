"""What the command line refuses: before anything is written, and in a line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli.app import app
from workflow.asking import arguments, tiny_request


def cpg(*words: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def mistake(*words: object) -> str:
    result = cpg(*words)
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_refused_run_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = arguments(tiny_request("compute.device=cuda"), tmp_path)
    assert "finds no GPU" in mistake(*words, "--plain", "--no-track")
    monkeypatch.setenv("PREFECT_API_URL", "no address")
    assert "PREFECT_API_URL" in mistake(*arguments(tiny_request(), tmp_path))
    assert not (tmp_path / "checkpoints").exists()
