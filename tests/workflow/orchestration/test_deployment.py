"""The deployment on a real server and worker: killed, retried, reaped, and in the end the bytes of an unbroken run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from core.tiny import ROOT, frozen_bytes
from waiting import ask, listens, until

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from workflow.asking import arguments, parameters, tiny_request
from workflow.conftest import learned

BIN = Path(sys.executable).parent
SLOW = ("pick_train.epochs=60", "pick_train.score_freeze_epoch=40")
"""Seconds of training in the first stage, so that a kill falls into it."""
ENDLESS = "pick_train.epochs=100000"


@dataclass(frozen=True)
class Site:
    """A server with a worker, and what speaks to them."""

    root: Path
    env: dict[str, str]

    def prefect(self, *words: str) -> str:
        """What a command of Prefect prints."""
        command = [BIN / "prefect", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def api(self, path: str, **body: Any) -> Any:  # noqa: ANN401  (JSON)
        return ask(f"{self.env['PREFECT_API_URL']}/{path}", body or None)

    def begin(self, **given: Any) -> str:  # noqa: ANN401
        """The id of a new flow run of the deployment."""
        deployment = self.api("deployments/name/cpg/sequence")["id"]
        return str(self.api(f"deployments/{deployment}/create_flow_run", parameters=given)["id"])

    def state(self, flow_run: str) -> tuple[str, str]:
        state = self.api(f"flow_runs/{flow_run}")["state"]
        return state["type"], state["message"]

    def reported(self, flow_run: str) -> bool:
        """Whether the worker is done with a killed flow run, whose crash it reports a second time once its hook is
        over: a retry before that would be undone. Its advice on what kills processes is the last it has to say.
        """
        logs = self.api("logs/filter", logs={"flow_run_id": {"any_": [flow_run]}})
        return any("exceeded its memory allocation" in log["message"] for log in logs)

    def below(self, flow_run: str) -> list[str]:
        """The states of the subflows of a flow run, and of its tasks and theirs."""
        subflows = self.api("flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [flow_run]}})
        ids = [flow_run, *(subflow["id"] for subflow in subflows)]
        tasks = self.api("task_runs/filter", flow_runs={"id": {"any_": ids}})
        return [run["state_type"] for run in (*subflows, *tasks)]


@contextmanager
def running(*command: object, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    words, nowhere = [str(word) for word in command], subprocess.DEVNULL
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=nowhere, stderr=nowhere)
    try:
        yield process
    finally:
        while process.poll() is None:  # a worker may need to be told twice
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Site]:
    """`prefect server start`, `make deploy` and `prefect worker start`, with their files in a temporary folder."""
    root, port = tmp_path_factory.mktemp("site"), free_port()
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(root / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    found = Site(root, env)
    (root / "home").mkdir()
    shutil.copy(prefect_database, root / "home")
    with running(BIN / "prefect", "server", "start", env=env):
        until(lambda: listens(port))
        command = ["make", "-o", ".venv/ready", "deploy"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with running(BIN / "prefect", "worker", "start", "--pool", "local", env=env):
            yield found


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What the runs below come to, learned without a break and without Prefect."""
    return learned(tmp_path_factory.mktemp("slow"), tiny_request(*SLOW))


def training(root: Path) -> bool:
    """Whether a run is in the middle of its first stage: an epoch is saved."""
    return any((root / "work" / "tiny").glob("001-*/01-*/at-*.json"))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_killed_and_retried_it_ends_in_the_same_bytes(site: Site, slow: Run) -> None:
    root = site.root / "killed"
    flow_run = site.begin(**parameters(tiny_request(*SLOW), root))
    until(lambda: training(root))
    kill(int(site.api(f"flow_runs/{flow_run}")["infrastructure_pid"]))
    until(lambda: site.state(flow_run)[0] == "CRASHED")
    until(lambda: "RUNNING" not in site.below(flow_run))
    until(lambda: site.reported(flow_run))
    assert open_run(root, "tiny").frozen() == 0
    assert "scheduled for retry" in " ".join(site.prefect("flow-run", "retry", flow_run).split())
    until(lambda: site.state(flow_run)[0] == "COMPLETED")
    assert site.api(f"flow_runs/{flow_run}")["run_count"] == 2
    assert frozen_bytes(open_run(root, "tiny")) == frozen_bytes(slow)


def test_a_run_that_is_cancelled_saves_its_state(site: Site) -> None:
    endless = site.begin(**parameters(tiny_request(ENDLESS), site.root / "cancelled"))
    until(lambda: training(site.root / "cancelled"))
    site.api(f"flow_runs/{endless}/set_state", state={"type": "CANCELLING"})
    until(lambda: site.state(endless)[0] not in ("RUNNING", "CANCELLING"))
    assert site.state(endless)[0] == "CANCELLED"
    assert training(site.root / "cancelled")
    until(lambda: "RUNNING" not in site.below(endless))


def test_one_that_died_with_its_worker_is_reaped(site: Site) -> None:
    """As after a power cut: nobody is left to tell the server."""
    root = site.root / "reaped"

    def reap() -> str:
        words = (BIN / "cpg", "reap", "--root", root)
        return subprocess.run(words, cwd=ROOT, env=site.env, capture_output=True, text=True, check=True).stdout

    words = (BIN / "cpg", *arguments(tiny_request(ENDLESS), root), "--no-track")
    with running(*words, env=site.env) as process:
        until(lambda: training(root))
        (lock,) = (root / ".prefect" / "alive").iterdir()
        flow_run = str(UUID(lock.stem))
        until(lambda: site.below(flow_run) == ["RUNNING"] * 3)  # the task, its stage: the server hears of them later
        process.send_signal(signal.SIGSTOP)  # so that it takes no processor from the rest
        assert "no flow runs" in reap()  # it lives
        assert site.state(flow_run)[0] == "RUNNING"
        process.kill()
    assert site.state(flow_run)[0] == "RUNNING"
    assert flow_run in reap()
    assert site.state(flow_run) == ("CRASHED", "The process is gone; a retry goes on from the last finished epoch")
    assert set(site.below(flow_run)) == {"CRASHED"}
    assert not (root / ".prefect" / "alive" / lock.name).exists()


def test_a_wrong_parameter_is_refused_by_the_call(site: Site) -> None:
    told = site.prefect("deployment", "run", "cpg/sequence", "-p", "method=cgp", "-p", f"root={site.root / 'refused'}")
    assert "field 'method'" in told
    assert "'cgp' is not one of" in " ".join(told.split())
    assert not (site.root / "refused").exists()


def test_numbers_and_words_are_taken(site: Site) -> None:
    """Scheduled for a day when this server is long gone."""
    words = ("-p", "goal=avg", "-p", "ordering=2", "--start-in", "in 2 days")
    assert "Created flow run" in site.prefect("deployment", "run", "cpg/sequence", *words)
