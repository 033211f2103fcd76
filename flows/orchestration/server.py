"""A Prefect server of our own, for as long as one command runs.

Prefect would start one itself. This one lives in a session of its own, so that Ctrl-C reaches only the training, which
then stops with its state saved and can still tell the server; it writes to a log file, not on the terminal; and it
ends with its parent, however that one ends, since it waits for the pipe between them to close.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cpg_core.errors import CpgError

START_TIMEOUT = 120.0
ANSWER_TIMEOUT = 5.0
STOP_TIMEOUT = 10.0


@contextmanager
def server(home: Path) -> Iterator[Callable[[], None]]:
    """Set PREFECT_API_URL to a server of our own inside the block, unless it names one already.

    Enter it before prefect is imported, which reads its settings then; imports made inside the block pass the time
    that the server takes to start.

    Args:
        home: Prefect's folder; the server logs to `server.log` in it.

    Returns:
        A function to call before the first flow: it waits until the server answers.

    Raises:
        CpgError: the server does not start, or the one that was named does not answer.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        hint = "start it, unset PREFECT_API_URL for one that lives with the command, or do without one: --plain"
        _wait(given, ANSWER_TIMEOUT, lambda: False, f"the Prefect server at {given} does not answer; {hint}")
        yield lambda: None
        return
    home.mkdir(parents=True, exist_ok=True)
    settings = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.orchestration.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **settings},
            start_new_session=True,
        )
    failed = f"the Prefect server did not start; {log.name} says why. --plain does without one"
    try:
        port = _port(process)
        if port is None:
            raise CpgError(failed)
        url = os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        yield lambda: _wait(url, START_TIMEOUT, lambda: process.poll() is not None, failed)
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        _stop(process)


def main() -> None:
    """Serve until standard input closes; the port goes to standard output at once."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    # What is printed later has no reader; the log file takes it.
    os.dup2(2, 1)
    os.environ.pop("PREFECT_API_URL", None)
    serving = uvicorn.Server(
        uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    )

    def end_with_parent() -> None:
        os.read(0, 1)
        serving.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    serving.run(sockets=[listener])


def _port(process: subprocess.Popen[bytes]) -> int | None:
    """The port that the server tells; None if it ends or keeps silent."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START_TIMEOUT) else b""
    return int(line) if line.strip().isdigit() else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send on what Prefect has not sent yet, if it was imported at all; then let the server finish."""
    for module, worker in (("prefect.events.worker", "EventsWorker"), ("prefect.logging.handlers", "APILogWorker")):
        if module in sys.modules:
            getattr(sys.modules[module], worker).drain_all(timeout=STOP_TIMEOUT)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(url: str, timeout: float, ended: Callable[[], bool], failed: str) -> None:
    deadline = time.monotonic() + timeout
    while not answers(url):
        if ended() or time.monotonic() > deadline:
            raise CpgError(failed)
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether the server whose API is at `url` gives a sign of life within two seconds."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    main()
