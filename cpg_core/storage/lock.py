"""One process at a time changes a run: the lock in its `work` folder, which falls with the process that holds it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cpg_core.errors import CpgError

LOCK = "lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def delete_work(work: Path) -> None:
    """Delete the work in progress of a run whose lock this process has; over NFS the lock stays, which cannot go."""
    clear_work(work)
    shutil.rmtree(work, ignore_errors=True)


def clear_work(work: Path) -> None:
    """Delete the work in progress of a run, but for its lock."""
    with suppress(FileNotFoundError):
        for entry in sorted(work.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the lock of the run whose work in progress lies in `work`.

    A file system without locks is refused: a second process that learns the same run would go unnoticed there, and
    each would remove the stages of the other.

    Raises:
        CpgError: another process holds it, or there can be none in that place.
    """
    file = work / LOCK
    # The lock that it would take instead is a file that stays when a process is killed, and nobody is told.
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise CpgError(
            f"run {work.name}: another process is learning it; wait for that one to end, or name another run"
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in NO_LOCKS:
            raise CpgError(
                f"{file}: this file system has no locks ({why}); make {work.parent} a link to a folder of a local "
                "disk, or mount it with locks: they keep two processes from learning one run"
            ) from error
        raise CpgError(
            f"{file}: cannot be written: {why}; a run is changed only where its work folder can be"
        ) from error
    try:
        yield
    finally:
        lock.release()
