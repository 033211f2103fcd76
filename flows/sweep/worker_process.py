"""A worker process of this machine: how one begins and ends, and how it is handed jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from flows.environment import prepare, quiet
from flows.sweep.job import learn_job
from flows.sweep.slot import Submit


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def learn_in_process(root: Path) -> Iterator[Submit]:
    """One worker process, without Prefect."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_worker, (root,)) as executor:
        yield lambda job: executor.submit(learn_job, job)


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
