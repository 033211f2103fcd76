"""A Prefect server with the deployment and a worker, and an MLflow server: on loopback, their files in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.tiny import ROOT
from waiting import HANG, ask, until


@dataclass(frozen=True)
class Services:
    """Where the pages are, and the folder that holds the results of runs."""

    prefect: str
    mlflow: str
    root: Path

    @property
    def deployment(self) -> dict[str, Any]:
        """`cpg/sequence`, as Prefect knows it."""
        found: dict[str, Any] = ask(f"{self.prefect}/api/deployments/name/cpg/sequence")
        return found

    def start(self, **parameters: Any) -> str:  # noqa: ANN401  (of the flow)
        """The id of a new flow run of the deployment."""
        url = f"{self.prefect}/api/deployments/{self.deployment['id']}/create_flow_run"
        given = {**parameters, "root": str(self.root)}
        return str(ask(url, {"parameters": given, "state": {"type": "SCHEDULED"}})["id"])

    def finish(self, flow_run: str) -> None:
        """Wait until a flow run is completed."""
        state: dict[str, Any] = {}

        def over() -> bool:
            state.update(ask(f"{self.prefect}/api/flow_runs/{flow_run}")["state"])
            return state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

        until(over, f"flow run {flow_run}")
        assert state["type"] == "COMPLETED", state


@contextmanager
def services(folder: Path, prefect_database: Path) -> Iterator[Services]:
    """Everything started as the README says, on free ports, for as long as the block lasts."""
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{prefect}/api",
        # As a setting: with `--port` the page would still ask port 4200.
        "PREFECT_SERVER_API_PORT": prefect.rpartition(":")[2],
        "MLFLOW_TRACKING_URI": mlflow,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    tracking = {
        "backend-store-uri": f"sqlite:///{folder / 'mlflow.db'}",
        "artifacts-destination": folder / "mlartifacts",
        "port": mlflow.rpartition(":")[2],
        "workers": 1,
    }
    options = [str(word) for name, value in tracking.items() for word in (f"--{name}", value)]
    (folder / "prefect").mkdir()
    shutil.copy(prefect_database, folder / "prefect")
    with ExitStack() as stack:

        def start(*words: str) -> Callable[[], bool]:
            return stack.enter_context(running(words, environment, folder / f"{words[0]}-{words[1]}.log"))

        mlflow_ended = start("mlflow", "server", *options)
        prefect_ended = start("prefect", "server", "start")
        until(lambda: answers(f"{prefect}/api/health"), "the Prefect server", prefect_ended)
        worker_ended = start("prefect", "worker", "start", "--pool", "local", "--type", "process")
        pool = f"{prefect}/api/work_pools/local"
        until(lambda: answers(pool), "the worker", worker_ended)
        deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        subprocess.run(deploy, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=HANG)
        until(lambda: answers(f"{mlflow}/health"), "the MLflow server", mlflow_ended)
        yield Services(prefect, mlflow, folder)


@contextmanager
def running(words: tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[Callable[[], bool]]:
    """A command of this Python, ended with all that it started; the block is given whether it ended by itself."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield lambda: process.poll() is not None
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """A worker may need to be told twice."""
    for _ in range(2):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Free ones, all held at the same time so that no two are the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
