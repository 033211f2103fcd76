"""A Prefect server and an MLflow server that are killed while a run speaks to them, and come back or stay away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults_rows import Bench, Row, told
from faults_sequence import CPG, ROOT, RUN, Attempt, arguments, content, environment, unbroken

from cpg_core.storage.runs import open_run

SLOW = ("--set", "pick_train.epochs=200", "--set", "pick_train.score_freeze_epoch=140")
"""A task takes some seconds, in which a server may go and come."""

LONG = "1-5"
HANG = 600.0
"""Seconds after which nothing is expected any more; only a hang takes so long."""


class Server:
    """A server of a command line on a port of its own, that can be killed outright and started again."""

    def __init__(self, command: Callable[[int], list[str]], path: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._command, self._path, self._folder = command(self.port), path, folder
        folder.mkdir()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
                env=environment(PREFECT_HOME=str(self._folder), MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            )  # fmt: skip
        deadline = time.monotonic() + HANG
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._command} does not answer")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill it, with the processes that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self._path}", timeout=2):
                return True
        except OSError:
            return False


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server for the time of the block."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


def prefect_away(bench: Bench) -> Iterator[Row]:
    """The Prefect server is killed in the second task; it comes back in a later one, or not at all."""
    whole = unbroken(bench.start, bench.folder / "slow", *SLOW, tasks=LONG)
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port"]
    server = Server(lambda port: [*command, str(port)], "/api/health", bench.folder / "prefect")
    for back in (True, False):
        root = bench.folder / ("back" if back else "away")
        url = f"http://127.0.0.1:{server.port}/api"
        with running(server), _cpg(root, "--no-track", PREFECT_API_URL=url) as process:
            _until(root, "work/*/002-*/*-prune")
            server.kill()
            if back:
                _until(root, "work/*/003-*")  # a shorter outage is got over by a call that is tried again
                server.start()
            attempt = _end(process)
            shown = _shown(url) if back else ""
            if not back:
                server.start()
        same = attempt.code == 0 and content(open_run(root, RUN)) == content(whole)
        notes = [line for line in attempt.said.splitlines() if line.startswith("note:")]
        ok = (
            same and bool(notes) and "Traceback" not in attempt.said and shown == ("Completed, 5 tasks" if back else "")
        )
        where = "comes back" if back else "stays away"
        happened = f"{told(attempt)}; {'the same bytes' if same else 'OTHER BYTES'}{'; shown: ' * back}{shown}"
        yield Row(
            "Prefect server killed", where, "learning goes on, shown later" * back or "learning goes on", happened, ok
        )
        if not ok:
            print(attempt.said[-3000:], file=sys.stderr)


def mlflow_away(bench: Bench) -> Iterator[Row]:
    """The MLflow server is killed in the second task; what it missed is sent with a later task, or the next time."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port"]
    server = Server(lambda port: [*command, str(port)], "/health", bench.folder / "mlflow")
    root, uri = bench.folder / "tracked", f"http://127.0.0.1:{server.port}"
    with running(server):
        with _cpg(root, "--plain", MLFLOW_TRACKING_URI=uri) as process:
            _until(root, "work/*/002-*/*-prune")
            server.kill()
            attempt = _end(process)
        server.start()
        with _cpg(root, "--plain", MLFLOW_TRACKING_URI=uri) as process:
            again = _end(process)
        recorded = _recorded(uri)
    run = open_run(root, RUN)
    notes = "MLflow cannot be reached" in attempt.said and "MLflow cannot" not in again.said
    ok = attempt.code == again.code == 0 and notes and run.frozen() == 5 and recorded == "5 tasks once, FINISHED"
    happened = f"{told(attempt)}; recorded: {recorded}"
    yield Row("MLflow server killed", "comes back", "learning goes on, sent later", happened, ok)


def mlflow_database(bench: Bench) -> Iterator[Row]:
    """The file of the local MLflow store is damaged, then removed; and a process is killed while it writes there."""
    run = bench.copy(bench.stopped, "database")
    first = bench.again(run, track=True)
    database = run.root / "mlflow.db"
    uri = f"sqlite:///{database}"
    sound, before = database.read_bytes(), _recorded(uri)
    for how, broken in (
        ("cut in half", sound[: len(sound) // 2]),
        ("a bit flipped", bytes([sound[0] ^ 1]) + sound[1:]),
    ):
        database.write_bytes(broken)
        attempt = bench.again(run, track=True)
        database.write_bytes(sound)
        again = bench.again(run, track=True)
        ok = first.code == again.code == 0 and attempt.code == 3 and "MLflow refuses" in attempt.said
        ok &= bench.same(run)
        ok &= before == _recorded(uri) == "3 tasks once, FINISHED"
        yield Row(
            how,
            "mlflow.db",
            "told, exit code 3; nothing touched",
            f"{told(attempt)}; then {_recorded(uri)}",
            ok,
        )
    database.unlink()
    for seconds in (2.0, 3.0, 4.0, 5.0, 6.0):
        bench.start.run(run.root, arguments(run.root, "--plain"), seconds=seconds)
    again = bench.again(run, track=True)
    recorded = _recorded(uri)
    ok = again.code == 0 and recorded == "3 tasks once, FINISHED" and bench.same(run)
    yield Row("killed 5 times", "while it tells MLflow", "all is there, once", recorded, ok)


@contextmanager
def _cpg(root: Path, *more: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`cpg run` on the slow sequence, in a process of its own."""
    words = arguments(root, *more, *SLOW, tasks=LONG)
    command = [*CPG, *words]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process


def _end(process: subprocess.Popen[str]) -> Attempt:
    said, _ = process.communicate()
    return Attempt(process.returncode, False, [], said)


def _until(root: Path, pattern: str) -> None:
    deadline = time.monotonic() + HANG
    while not list(root.glob(pattern)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{root / pattern} does not come")
        time.sleep(0.02)


def _shown(url: str) -> str:
    """What the Prefect server shows in the end: the state of the flow run, and its tasks that are completed."""
    script = """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    runs = client.read_flow_runs()
top = [run for run in runs if run.parent_task_run_id is None]
done = {run.name for run in runs if run.parent_task_run_id and run.state.name == "Completed"}
print(f"{', '.join(run.state.name for run in top)}, {len(done)} tasks")
"""
    return _python(script, PREFECT_API_URL=url)


def _recorded(uri: str) -> str:
    """What MLflow holds of the run in the end."""
    script = f"""
from collections import Counter
from mlflow.tracking import MlflowClient
client = MlflowClient({uri!r})
runs = client.search_runs([found.experiment_id for found in client.search_experiments()])
tasks = Counter(run.data.tags["task"] for run in runs if "task" in run.data.tags)
states = {{run.info.status for run in runs}}
print(len(tasks), "tasks", "once," if set(tasks.values()) == {{1}} else f"{{tasks}},", *states)
"""
    return _python(script)


def _python(script: str, **variables: str) -> str:
    """What a script prints; Prefect and MLflow read their settings as they are imported."""
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment(**variables), capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or found.stderr.strip()[-200:]
