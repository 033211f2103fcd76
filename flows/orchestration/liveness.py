"""Whether the process of a flow run still lives: it holds a lock file named after the flow run, which falls with it.

The server cannot know: of a process that was killed together with its worker, it hears nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from uuid import UUID

from filelock import FileLock

from flows.orchestration.server_process import lock_if_possible

SUFFIX = ".lock"


def folder(root: Path) -> Path:
    """Where the lock files are."""
    return root / ".prefect" / "alive"


@contextmanager
def liveness_lock(root: Path, flow_run: UUID | str) -> Iterator[None]:
    """Hold the lock of a flow run inside the block. The file stays: the server may not have heard of the end.

    Where no lock can be made, the block runs without: `cpg reap` will not find this flow run, and that is all.
    """
    with lock_if_possible(folder(root) / f"{flow_run}{SUFFIX}"):
        yield


@contextmanager
def still_alive(root: Path, flow_run: UUID | str) -> Iterator[None]:
    """Hold the lock that an earlier attempt of a flow run left, inside the block; where there is none, nothing."""
    left = (folder(root) / f"{flow_run}{SUFFIX}").exists()
    with liveness_lock(root, flow_run) if left else nullcontext():
        yield


def without_process(root: Path) -> set[UUID]:
    """The flow runs that left a lock file which nobody holds."""
    files = {known: file for file in folder(root).glob(f"*{SUFFIX}") if (known := _flow_run(file)) is not None}
    return {known for known, file in files.items() if not _is_held(file)}


def remove_lock(root: Path, flow_run: UUID) -> None:
    """Drop the lock file of a flow run that has ended."""
    (folder(root) / f"{flow_run}{SUFFIX}").unlink(missing_ok=True)


def _flow_run(file: Path) -> UUID | None:
    """Whose lock file it is; None: it has another name, as a copy has."""
    try:
        return UUID(file.stem)
    except ValueError:
        return None


def _is_held(file: Path) -> bool:
    try:
        with FileLock(file, timeout=0, fallback_to_soft=False):
            return False
    except OSError:  # a Timeout; or it cannot be told, as where there are no locks: nothing is taken for gone
        return True
