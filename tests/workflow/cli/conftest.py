"""A run to read that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run


@pytest.fixture
def copied(unbroken: Run, tmp_path: Path) -> Run:
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "tiny")
    return open_run(tmp_path, "tiny")
