"""The server of one command: it answers, never outlives who started it, and what ails it stops no learning."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from core.tiny import ROOT, frozen_bytes
from pandas import DataFrame
from waiting import listens, until

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from flows.console.loading import ERASE
from flows.console.terminal import STARTING, STOPPING, starting_server
from flows.orchestration import server_process
from flows.orchestration.server import ServerNotStarted, _settings, server
from flows.sweep.comparing import Results
from flows.sweep.comparison import Planned
from workflow.asking import arguments, cpg, tiny_request

PARENT = """
import os, sys
from pathlib import Path
from flows.orchestration.server import server
with server(Path(sys.argv[1])):
    print(os.environ["PREFECT_API_URL"], flush=True)
    sys.stdin.read()
"""
BROKEN = """
import sys
print("Traceback (most recent call last):\\nsqlalchemy.exc.OperationalError: duplicate column name", file=sys.stderr)
print("Application startup failed. Exiting.", file=sys.stderr)
"""
TELLING = """
import os, sys
import queue
print(os.getcwd(), sys.flags.safe_path, queue.__file__, file=sys.stderr)
"""

SLOW = """
import os, sys, time
from pathlib import Path
Path("pid.part").write_text(str(os.getpid()))
os.rename("pid.part", "pid")
time.sleep(600)
"""
GUARDED = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        healthy = self.path == "/api/health"
        self.send_response(200 if healthy else 401)
        self.end_headers()
        self.wfile.write(b"true" if healthy else b"")

there = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=there.serve_forever, daemon=True).start()
print(there.server_port, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_a_parent_that_is_killed(prefect_home: Path, tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**variables, "PREFECT_HOME": str(prefect_home), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline().split(":")[2].split("/")[0])
    assert listens(port)
    parent.kill()
    parent.communicate()
    until(lambda: not listens(port), "the end of the server")


@pytest.mark.usefixtures("prefect_server")
def test_one_that_is_there_is_used(tmp_path: Path) -> None:
    there = os.environ["PREFECT_API_URL"]
    with server(tmp_path / "home") as wait:
        wait()
        assert os.environ["PREFECT_API_URL"] == there
    assert not (tmp_path / "home").exists()


@pytest.fixture
def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Have another script stand in for the server; what is returned is Prefect's folder."""

    def write(code: str) -> Path:
        script = tmp_path / "script.py"
        script.write_text(code)
        monkeypatch.setattr("flows.orchestration.server.SCRIPT", script)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "results" / ".prefect"))
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        return tmp_path / "results" / ".prefect"

    return write


def why_not(home: Path) -> str:
    with pytest.raises(ServerNotStarted) as raised, server(home) as wait:
        wait()
    return str(raised.value)


def test_one_that_does_not_start_says_why(instead: Callable[[str], Path]) -> None:
    home = instead(BROKEN)
    why = "the Prefect server did not start (sqlalchemy.exc.OperationalError: duplicate column name)"
    assert why_not(home) == why
    assert "startup failed" in (home / "server.log").read_text()
    assert "PREFECT_API_URL" not in os.environ


def test_one_that_wants_a_password_is_not_waited_for(instead: Callable[[str], Path]) -> None:
    """PREFECT_SERVER_API_AUTH_STRING is set, and PREFECT_API_AUTH_STRING is not."""
    wants = "it refuses: set PREFECT_API_AUTH_STRING to what PREFECT_SERVER_API_AUTH_STRING is"
    assert why_not(instead(GUARDED)) == f"the Prefect server did not start ({wants})"


def test_its_log_is_written_elsewhere_where_it_cannot_be(instead: Callable[[str], Path]) -> None:
    home = instead(BROKEN)
    (home / "server.log").mkdir(parents=True)  # no file can be opened there, not even by root
    assert "duplicate column name" in why_not(home)


def test_a_folder_that_cannot_be_made_is_told(instead: Callable[[str], Path]) -> None:
    home = instead(BROKEN)
    home.parent.mkdir()
    home.write_text("a file")
    assert f"{home}: a file or folder of this name is in the way" in why_not(home)


def test_it_imports_nothing_of_the_callers_folder(
    instead: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("print('of the caller')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # the same for every process; the server is safe by itself
    home = instead(TELLING)
    home.mkdir(parents=True)
    (home.parent / "queue.py").touch()
    why_not(home)
    folder, safe, module = (home / "server.log").read_text().split()
    assert (Path(folder), safe) == (home, "True")
    assert not Path(module).is_relative_to(tmp_path)


@pytest.mark.parametrize("name, quoted", [("plain", False), ("wh?t", True), ("a#b", True), ("50%", True)])
def test_the_database_lies_in_its_folder_whatever_that_is_called(name: str, quoted: bool) -> None:
    """Its address is relative to the folder, where a path would be cut at `?`; seen to work with the real server."""
    found = _settings(Path("/results") / name / ".prefect", {}).get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    assert found == ("sqlite+aiosqlite:///prefect.db" if quoted else None)


def test_a_database_of_the_users_own_is_kept() -> None:
    given = {"PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/prefect"}
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in _settings(Path("/a?b"), given)


@pytest.mark.usefixtures("prefect_server")  # for the tests after this one: Prefect reads its address on import
def test_learning_goes_on_without_it(unbroken: Run, instead: Callable[[str], Path]) -> None:
    import prefect  # noqa: F401

    root = instead(BROKEN).parent
    result = cpg(*arguments(tiny_request(), root), "--no-track")
    assert result.exit_code == 0, result.output
    assert "note: the Prefect server did not start (sqlalchemy.exc.OperationalError" in result.stderr
    assert "learning goes on without it" in result.stderr
    assert result.stderr.startswith(f"{STARTING}\n")
    assert frozen_bytes(open_run(root, "tiny")) == frozen_bytes(unbroken)


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_goes_on_without_it(instead: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.orchestration.compare  # noqa: F401  (imported inside the patch, it would keep what is patched)

    planned: list[Planned] = []
    monkeypatch.setattr(
        "flows.sweep.comparing.compare", lambda given, *_, **__: planned.extend(given) or Results(DataFrame(), None)
    )
    words = ["compare", "digits-5", "--methods", "packnet,pae", "--root", str(instead(BROKEN).parent), "--no-track"]
    result = cpg(*words)
    assert result.exit_code == 0, result.output
    assert [one.spec.method for one in planned] == ["packnet", "pae"]
    cluster = cpg(*words, "--dask", "tcp://127.0.0.1:9")
    assert cluster.exit_code == 2
    assert "--dask hands runs to a cluster through Prefect, whose server did not start" in cluster.stderr


def test_servers_start_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each brings the database up to date as it starts: two at once is one that fails."""
    inside: list[int] = []
    most: list[int] = []

    async def startup(self: object, sockets: object = None) -> None:  # noqa: ARG001
        inside.append(1)
        most.append(len(inside))
        await asyncio.sleep(0.1)
        inside.pop()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uvicorn.Server.startup", startup)

    def start() -> None:
        asyncio.run(server_process.Server(server_process.uvicorn.Config("nothing:here")).startup())

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_where_there_are_no_locks_a_server_starts_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with server_process.lock_if_possible(tmp_path / "a file" / "lock"):
        pass


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Path]:
    """Ctrl-C once a server that never answers has begun, which then still runs; the file of its number."""
    file = tmp_path / "results" / ".prefect" / "pid"

    def press() -> None:
        until(file.exists, "the stand-in for a server")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    yield file
    thread.join()


def test_ctrl_c_while_it_starts_is_heard_at_once(
    instead: Callable[[str], Path], interrupted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not waited for: it ends by itself. Killed while it changes its tables, it would leave them half-changed."""
    root = instead(SLOW).parent
    result = cpg(*arguments(tiny_request(), root), "--no-track")
    assert result.exit_code == 130, result.output
    assert result.stderr.splitlines()[0] == STARTING
    assert result.stderr.splitlines()[-1].startswith("stopped")
    assert capfd.readouterr().err == f"{STOPPING}\n"
    os.kill(int(interrupted.read_text()), signal.SIGKILL)  # raises if it were gone


def test_on_a_terminal_the_line_goes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    with starting_server():
        assert capfd.readouterr().err == STARTING
    assert capfd.readouterr().err == ERASE
    with pytest.raises(KeyboardInterrupt), starting_server():
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == f"{STARTING}{ERASE}{STOPPING}\n"


@pytest.mark.usefixtures("prefect_server")
def test_one_that_is_there_is_not_said_to_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with server(tmp_path / "home", starting_server) as wait:
        wait()
    assert capfd.readouterr().err == ""


def test_without_locks_a_flow_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.orchestration.liveness import folder, liveness_lock, without_process

    folder(tmp_path).parent.mkdir()
    folder(tmp_path).write_text("no folder")
    with liveness_lock(tmp_path, uuid4()):
        pass
    folder(tmp_path).unlink()
    flow_run = uuid4()
    with liveness_lock(tmp_path, flow_run):
        assert without_process(tmp_path) == set()
    (folder(tmp_path) / f"copy of {flow_run}.lock").touch()
    assert without_process(tmp_path) == {flow_run}
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert without_process(tmp_path) == set(), "nobody can tell, so it is not taken for gone"
    with liveness_lock(tmp_path, uuid4()):
        pass


def no_locks(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_a_retry_holds_the_lock_of_its_first_attempt_while_its_run_is_found(tmp_path: Path) -> None:
    from flows.orchestration.liveness import liveness_lock, still_alive, without_process

    known = uuid4()
    with still_alive(tmp_path, known):
        assert not (tmp_path / ".prefect").exists(), "a first attempt makes nothing"
    with liveness_lock(tmp_path, known):
        pass
    assert without_process(tmp_path) == {known}
    with still_alive(tmp_path, known):
        assert without_process(tmp_path) == set()
