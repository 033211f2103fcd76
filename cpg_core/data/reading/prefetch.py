"""Work done ahead in threads, its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_WORKERS = 8
EACH_AHEAD = 2
"""Of each worker: done or being done before they are asked for."""

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T], workers: int = 0) -> Generator[R, None, None]:
    """Yield `work(item)` of each item, in order; `workers` threads, 0: one a processor, eight at the most.

    Threads: decoding lets go of the interpreter, and a process that runs Prefect cannot be forked safely. Whoever
    stops asking waits for no more than what is being done.
    """
    workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    pool, waiting = ThreadPoolExecutor(workers, "decode"), deque[Future[R]]()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > EACH_AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
