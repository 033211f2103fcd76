"""A worker of a comparison in this very process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from flows.sweep.comparing import WorkerPool
from flows.sweep.job import Job, Outcome, learn_job
from flows.sweep.slot import Submit


@contextmanager
def learn_here(learn: Callable[[Job], Outcome] = learn_job) -> Iterator[Submit]:
    """A worker that learns at once, in this process."""

    def submit(job: Job) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        try:
            future.set_result(learn(job))
        except Exception as error:
            future.set_exception(error)
        return future

    yield submit


def here(learn: Callable[[Job], Outcome] = learn_job) -> WorkerPool:
    return WorkerPool(1, 1, lambda: learn_here(learn))
