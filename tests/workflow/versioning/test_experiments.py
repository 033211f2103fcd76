"""The pipeline and its experiments, as `dvc` calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from core.tiny import ROOT

from cpg_core.errors import CpgError
from flows.request import run_of_request
from workflow.asking import tiny_request
from workflow.versioning.project import commit


class TestExperiments:
    """What `dvc exp run` calls learns where the checkpoints last, or not at all."""

    def test_dvc_runs_an_experiment_beside_the_workspace_where_it_is_refused(self, project: Path) -> None:
        check = "from pathlib import Path; from flows.versioning.dvc_pointers import require_lasting as r; r(Path())"
        (project / "learn.py").write_text(f"{check}\nPath('out').write_text('learned')\n")
        stage = {"cmd": f"{sys.executable} learn.py", "deps": ["learn.py"], "outs": ["out"]}
        (project / "dvc.yaml").write_text(json.dumps({"stages": {"learn": stage}}))
        commit(project)
        experiment = [sys.executable, "-m", "dvc", "exp", "run", "--temp"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(experiment, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "CpgError" in done.stderr and "without --temp" in done.stderr

    @pytest.mark.parametrize("place", ["standalone/tmpab12", "tmpab12", "tmpab12/results"])
    def test_every_temporary_copy_is_refused(self, tmp_path: Path, place: str) -> None:
        root = tmp_path / ".dvc" / "tmp" / "exps" / place
        root.mkdir(parents=True)
        with pytest.raises(CpgError, match="without --temp"):
            run_of_request(tiny_request(), root)
        assert list(root.iterdir()) == []
        assert run_of_request(tiny_request(), tmp_path / ".dvc" / "exps" / place).frozen() == 0


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
