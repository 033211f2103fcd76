"""A Prefect server of our own, for as long as one command runs.

Prefect would start one itself. This one lives in a session of its own, so that Ctrl-C reaches only the training, which
then stops with its state saved and can still tell the server; it writes to a log file, not on the terminal; and it
ends with its parent, however that one ends, since it waits for the pipe between them to close.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import IO

from cpg_core.errors import CpgError, one_line
from flows.console.failures import described
from flows.orchestration.api_address import Reply, candidates, is_address, probe

START_TIMEOUT = 120.0
ANSWER_TIMEOUT = 5.0
STOP_TIMEOUT = 10.0
SCRIPT = Path(__file__).with_name("server_process.py")
EXAMPLE = "http://127.0.0.1:4200/api"
REFUSES = "refuses: set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
INSTEAD = "start it, unset PREFECT_API_URL for one that lives with the command, or do without one: --plain"
DATABASE = re.compile("PREFECT_(API|SERVER)_DATABASE_")


class ServerNotStarted(CpgError):
    """A server of our own does not start: what it would show is not shown, and nothing else is lost."""


@contextmanager
def server(
    home: Path, starting: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[Callable[[], None]]:
    """Set PREFECT_API_URL to a server of our own inside the block, unless it names one already.

    Enter it before prefect is imported, which reads its settings then; imports made inside the block pass the time
    that the server takes to start.

    Args:
        home: Prefect's folder; the server logs to `server.log` in it.
        starting: entered while a server of our own starts.

    Returns:
        A function to call before the first flow. It waits until the server answers, or raises `ServerNotStarted`.

    Raises:
        CpgError: PREFECT_API_URL names a server that does not answer, or no Prefect server.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        os.environ["PREFECT_API_URL"] = named(given, INSTEAD)
        yield lambda: None
        return
    try:
        process, log, begins = _start(home)
    except OSError as error:
        why = _not_started(described(error) or str(error))
        yield lambda: _give_up(why)
        return
    ready = False

    def wait() -> None:
        nonlocal ready
        with shown:
            _wait(url, process, lambda: _not_started(_last_error(log, begins)), there=port is not None)
        ready = True

    interrupted = False
    try:
        with log, ExitStack() as shown:
            shown.enter_context(starting())
            port = _port(process)
            # Prefect reads the address as it is imported; without a server it is never called.
            url = os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port or 0}/api"
            yield wait
    except KeyboardInterrupt:
        interrupted = not ready
        raise
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        if interrupted:
            _leave(process)
        else:
            _stop(process)


def named(given: str, hint: str) -> str:
    """The API address of the server that the user named.

    Args:
        given: its address.
        hint: what to do where nothing answers.

    Raises:
        CpgError: nothing answers there, or something else than a Prefect server that takes what we ask.
    """
    expected = f"expected an address such as {EXAMPLE}"
    if not is_address(given):
        raise CpgError(f"PREFECT_API_URL is {given!r}: {expected}")
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while True:
        replies = {url: probe(url) for url in candidates(given)}
        for url, reply in replies.items():
            if reply is Reply.PREFECT:
                return url
        if refused := [url for url, reply in replies.items() if reply is Reply.REFUSED]:
            if "prefect.settings" in sys.modules:
                raise CpgError(f"the Prefect server at {given} {REFUSES}")
            os.environ["PREFECT_API_URL"] = refused[-1]  # which Prefect reads as it is imported
            import prefect.settings  # noqa: F401  (a file of Prefect's own settings may hold the password)

            continue
        if Reply.INCOMPATIBLE in replies.values():
            here = f"Prefect {version('prefect')}, which is installed here"
            raise CpgError(
                f"the Prefect server at {given} is of another major version than {here}; upgrade the older of the two"
            )
        if Reply.OTHER in replies.values():
            raise CpgError(f"PREFECT_API_URL: what answers at {given} is not a Prefect API; {expected}")
        if time.monotonic() > deadline:
            raise CpgError(f"the Prefect server at {given} does not answer; {hint}")
        time.sleep(0.2)


def _start(home: Path) -> tuple[subprocess.Popen[bytes], IO[bytes], int]:
    """The process of the server, its log, and the place in that where it begins.

    It works in Prefect's folder: the folder of the caller may hold modules of any name, which Prefect's migrations
    would import.

    Raises:
        OSError: Prefect's folder cannot be made, or no process.
    """
    prefect_home = Path(os.environ.get("PREFECT_HOME") or home).resolve()
    for folder in (home, prefect_home):
        folder.mkdir(parents=True, exist_ok=True)
    log = _open_log(home)
    begins = log.seek(0, os.SEEK_END)
    process = subprocess.Popen(
        [sys.executable, "-P", str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=prefect_home,
        env={**os.environ, **_settings(prefect_home, os.environ)},
        start_new_session=True,
    )
    return process, log, begins


def _settings(prefect_home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the server reads from its environment.

    Prefect pastes the path of its folder into the address of its database, where `?` ends a path and `%` begins a
    code; a path relative to the working directory holds neither.
    """
    settings = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    settings["PREFECT_HOME"] = str(prefect_home)
    if not any(DATABASE.match(name) for name in given) and set("?#%") & set(str(prefect_home)):
        settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = "sqlite+aiosqlite:///prefect.db"
    return settings


def _open_log(home: Path) -> IO[bytes]:
    """The log file, at its end; a temporary one where it cannot be written."""
    try:
        return (home / "server.log").open("ab+")
    except OSError:
        return tempfile.TemporaryFile()


def _not_started(why: str) -> str:
    return f"the Prefect server did not start ({why})"


def _give_up(why: str) -> None:
    raise ServerNotStarted(why)


def _last_error(log: IO[bytes], begins: int) -> str:
    """The last error in a log from a place on, in a line."""
    log.seek(begins)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return one_line((errors or lines or [f"it said nothing within {START_TIMEOUT:.0f} s"])[-1])


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
    _leave(process)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Let the server end by itself, once it has started: it may be at work on the tables of its database."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def _wait(url: str, process: subprocess.Popen[bytes], why: Callable[[], str], *, there: bool) -> None:
    if not there:
        raise ServerNotStarted(why())
    deadline = time.monotonic() + START_TIMEOUT
    while (reply := probe(url)) is not Reply.PREFECT:
        if reply is Reply.REFUSED:  # PREFECT_SERVER_API_AUTH_STRING holds for every server that Prefect starts
            wants = "it refuses: set PREFECT_API_AUTH_STRING to what PREFECT_SERVER_API_AUTH_STRING is"
            raise ServerNotStarted(_not_started(wants))
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerNotStarted(why())
        time.sleep(0.2)
