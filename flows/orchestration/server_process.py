"""The Prefect server that lives with one command: a script, started by its path in a process of its own.

It imports nothing of this project, so that no module beside it or in the caller's folder stands before another.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from filelock import FileLock

STARTING = "server-starts.lock"


class Server(uvicorn.Server):
    """Starts alone: of servers that bring one database up to date at the same time, all but one would fail."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Make or update the tables, and begin to serve."""
        with lock_if_possible(Path(STARTING)):
            await super().startup(sockets)


@contextmanager
def lock_if_possible(file: Path) -> Iterator[None]:
    """Hold a lock inside the block, waiting for it; where none can be made, the block runs without."""
    lock = FileLock(file, fallback_to_soft=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def main() -> None:
    """Serve until standard input closes; the port goes to standard output at once."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    # What is printed later has no reader; the log file takes it.
    os.dup2(2, 1)
    os.environ.pop("PREFECT_API_URL", None)
    config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    serving = Server(config)

    def end_with_parent() -> None:
        os.read(0, 1)
        serving.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    serving.run(sockets=[listener])


if __name__ == "__main__":
    main()
