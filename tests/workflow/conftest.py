"""One Prefect server and one MLflow store for all tests of the flows, in temporary folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest
from core.tiny import ROOT

from cpg_core.storage.run import Run
from flows.environment import prepare
from flows.local_runner import learn
from flows.orchestration.server import server
from flows.persist import Persist
from flows.request import SequenceRequest, run_of_request
from workflow.asking import tiny_request
from workflow.listeners import silently


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences and profiles are those of the project; results go to temporary folders."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect and MLflow keep their files in a temporary folder, for as long as this process lives."""
    home = tmp_path_factory.mktemp("home")
    prepare(home)
    return home


@pytest.fixture(scope="session")
def prefect_home(environment: Path, prefect_database: Path) -> Path:
    """Prefect's folder, with the tables that a server would take seconds to make."""
    home = environment / ".prefect"
    if not (home / "prefect.db").exists():
        home.mkdir(exist_ok=True)
        copy(prefect_database, home)
    return home


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[None]:
    with server(prefect_home) as wait:
        wait()
        yield


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its schema takes seconds to make, so that all tests share one; their runs differ by name."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two tasks learned without Prefect, without a break. Only to be read."""
    return learned(tmp_path_factory.mktemp("unbroken"), tiny_request())


def learned(root: Path, request: SequenceRequest) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run = run_of_request(request, root)
    learn(run, silently, Persist(root, track=False))
    return run
