"""The workers of a Dask cluster, which must share the folder of results and have this project installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from prefect_dask.task_runners import DaskTaskRunner

from cpg_core.errors import CpgError
from flows.orchestration.job_task import learn_on_runner
from flows.sweep.comparing import WorkerPool
from flows.sweep.worker_process import cores

TIMEOUT = 10
"""Seconds for a cluster to answer."""


@contextmanager
def dask_pool(address: str, workers: int | None) -> Iterator[WorkerPool]:
    """The workers of the cluster at an address.

    Args:
        address: the scheduler's, such as tcp://10.0.0.1:8786.
        workers: how many of them at a time; None: all.

    Raises:
        CpgError: the cluster does not answer, has no workers, or workers that would disturb each other.
    """
    there, share = _shares(address)
    mistakes = []
    if workers is not None and not 1 <= workers <= there:
        mistakes.append(f"workers: {workers}: expected 1 to {there}, which is how many the cluster at {address} has")
    with DaskTaskRunner(address=address) as runner:
        yield WorkerPool(workers or there, share, lambda: learn_on_runner(runner), tuple(mistakes))


def _shares(address: str) -> tuple[int, int]:
    """How many workers a cluster has, and the threads that each may take: the least of its machines' shares."""
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise CpgError(f"the Dask cluster at {address} does not answer: {error}") from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        advice = f"start them from the project's folder: dask worker {address} --nworkers 2 --nthreads 1"
        if not workers:
            raise CpgError(f"the Dask cluster at {address} has no workers; {advice}")
        if any(worker["nthreads"] != 1 for worker in workers.values()):
            raise CpgError(f"a worker of the Dask cluster at {address} has several threads, for one run each; {advice}")
        of_machine = client.run(cores)
    on = Counter(worker["host"] for worker in workers.values())
    share = min(of_machine[name] // on[worker["host"]] for name, worker in workers.items())
    if share == 0:
        raise CpgError(f"a machine of the Dask cluster at {address} has more workers than cores; start fewer there")
    return len(workers), share
