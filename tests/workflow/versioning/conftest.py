"""Projects under DVC."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from workflow.versioning.project import make_project


@pytest.fixture(scope="session", autouse=True)
def own_site_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DVC's notes on files it has hashed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return make_project(tmp_path / "project")


@pytest.fixture
def copied(unbroken: Run, project: Path) -> Run:
    """A run that was learned before the folder was under DVC."""
    shutil.copytree(unbroken.folder, project / "checkpoints" / "tiny")
    return open_run(project, "tiny")
