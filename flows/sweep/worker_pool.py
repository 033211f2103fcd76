"""Worker processes of this machine: how one begins and ends, and a slot that has one to itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from flows.environment import prepare, quiet
from flows.sweep.job import Outcome, Unit, learn_unit


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


class PlainSlot:
    """One worker process, without Prefect."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._executor = self._open()

    def _open(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_worker, (self._root,))

    def submit(self, unit: Unit) -> Future[Outcome]:
        """Hand the worker a unit."""
        with out_of_reach():
            return self._executor.submit(learn_unit, unit)

    def renew(self) -> None:
        """Take another process."""
        self.close()
        self._executor = self._open()

    def close(self) -> None:
        """End the worker once it is idle."""
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Processes and threads that begin inside the block do not hear Ctrl-C; a process does again by `begin_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(root: Path) -> None:
    """Make this process a worker: it has imported what learning needs, and ends when its parent does.

    Ctrl-C reaches every process of a terminal: an idle worker ignores it, and one that learns takes it as a wish to
    stop (`flows.console.signals`).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    prepare(root)
    quiet()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ask this process to stop when its parent has ended, until it does: while it learns, that saves its state."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
