"""A place for one job at a time, whose worker can be replaced; a local process, Prefect's, or a cluster's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from flows.sweep.job import Job, Outcome


class Pending(Protocol):
    """A job in the hands of a worker: a future."""

    def add_done_callback(self, fn: Callable[..., object]) -> object:
        """Call it when the job is done."""

    def result(self) -> Outcome:
        """How it came out; raises a fault of the worker."""
        ...


Submit = Callable[[Job], Pending]
Worker = Callable[[], AbstractContextManager[Submit]]
"""Opens a worker: what submits a job to it, for as long as the block lasts."""


class Slot:
    """One worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._open()

    def submit(self, job: Job) -> Pending:
        """Hand the worker a job."""
        with without_interrupt():
            try:
                return self._submit(job)
            except BrokenExecutor:  # it died while it had nothing to do
                self.renew()
                return self._submit(job)

    def renew(self) -> None:
        """Take another worker, since this one is gone."""
        self.close()
        self._open()

    def close(self) -> None:
        """Let the worker go once it is idle."""
        self._opened.__exit__(None, None, None)

    def _open(self) -> None:
        self._opened = self._worker()
        self._submit = self._opened.__enter__()


@contextmanager
def without_interrupt() -> Iterator[None]:
    """Processes and threads that begin inside the block do not hear Ctrl-C; a worker does again by `begin_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
