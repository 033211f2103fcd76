"""The pipeline and its experiments, as `dvc` calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from core.tiny import ROOT

from cpg_core.errors import CpgError
from flows.request import begun
from workflow.asking import tiny_request
from workflow.versioning.project import commit, pointers


class TestExperiments:
    """What `dvc exp run` calls learns where the checkpoints last, or not at all."""

    @pytest.mark.parametrize("beside", [[], ["--temp"]])
    def test_in_the_workspace_and_not_in_a_temporary_copy(self, project: Path, beside: list[str]) -> None:
        words = ["-c", "from flows.cli.app import main; main()", "run", "digits-5", "--tasks", "1", "--run", "tiny"]
        called = [sys.executable, *words, "--plain", "--no-track", "--root", "."]
        for setting in tiny_request().overrides:
            called += ["--set", setting]
        (project / "learn.py").write_text(f"import subprocess, sys\nsys.exit(subprocess.run({called!r}).returncode)\n")
        (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        shutil.copytree(ROOT / "data", project / "data", ignore=shutil.ignore_patterns("raw", "prepared"))
        (project / "dvc.yaml").write_text(
            f"stages:\n  learn:\n    cmd: {sys.executable} learn.py\n    params: [profile]\n    outs: [out]\n"
        )
        commit(project)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        experiment = [sys.executable, "-m", "dvc", "exp", "run", *beside]
        done = subprocess.run(experiment, cwd=project, env=environment, capture_output=True, text=True, check=False)
        if beside:
            assert "without --temp" in done.stderr + done.stdout
            assert "pick-train" not in done.stderr + done.stdout
            assert not list((project / ".dvc" / "tmp").rglob("delta.safetensors"))
        else:
            assert "001-zero-one.dvc" in pointers(project), done.stdout + done.stderr

    @pytest.mark.parametrize("place", ["standalone/tmpab12", "tmpab12", "tmpab12/results"])
    def test_every_temporary_copy_is_refused(self, tmp_path: Path, place: str) -> None:
        root = tmp_path / ".dvc" / "tmp" / "exps" / place
        root.mkdir(parents=True)
        with pytest.raises(CpgError, match="without --temp"):
            begun(tiny_request(), root)
        assert list(root.iterdir()) == []
        assert begun(tiny_request(), tmp_path / ".dvc" / "exps" / place).frozen() == 0


@pytest.mark.parametrize("activated", [True, False])
def test_the_pipeline_finds_its_command_with_and_without_an_activated_environment(
    tmp_path: Path, activated: bool
) -> None:
    """In the environment that is activated, wherever it lies; else in `.venv`."""
    commands = [line.split("cmd: ")[1] for line in (ROOT / "dvc.yaml").read_text().splitlines() if "cmd: " in line]
    assert commands
    for place in (".venv/bin", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "cpg").write_text(f"#!/bin/sh\necho {place} $*\n")
        (tmp_path / place / "cpg").chmod(0o755)
    path = f"{tmp_path / 'elsewhere'}:/usr/bin:/bin" if activated else "/usr/bin:/bin"
    for command in commands:
        called = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env={"PATH": path}, capture_output=True, check=True
        )
        assert called.stdout.decode().startswith(("elsewhere" if activated else ".venv/bin") + " reproduce")
