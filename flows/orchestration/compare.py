"""The Prefect flow that learns many runs side by side, deployed as `cpg/compare`: each run is a Prefect task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import Flow, State, flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from cpg_core.errors import CpgError
from flows.environment import prepare
from flows.orchestration import parameters as form
from flows.orchestration.artifacts import comparison_artifact
from flows.orchestration.job_task import learn_in_prefect_process
from flows.orchestration.liveness import liveness_lock
from flows.orchestration.outage import Outage
from flows.orchestration.reap import settle_crashed
from flows.orchestration.sequence import as_prefect_state, completed
from flows.orchestration.task import no_work
from flows.sweep.comparing import Results, Tell, WorkerPool, compare, local_pool
from flows.sweep.comparison import Comparison, Planned, plan

Rows = list[dict[str, Any]]


def compare_flow(
    tell: Tell | None = None,
    planned: list[Planned] | None = None,
    ended: Callable[[Results], None] = lambda _: None,
) -> Flow[..., State[Rows]]:
    """The flow `cpg` of the deployment `compare`.

    It has the name of the flow that learns one sequence, with parameters of its own: Prefect tells deployments apart
    by both names, and each keeps its own parameters and entrypoint.

    Args:
        tell: is told how it goes; None: the log of the flow run.
        planned: the runs that its parameters mean, if they are known; None: the flow plans them.
        ended: is given what came out.
    """

    @flow(name="cpg", flow_run_name="compare {sequence}", persist_result=False, on_crashed=[settle_crashed])
    def compare_runs(
        sequence: form.Sequence,
        methods: form.Methods = ("cpg",),
        orderings: form.Orderings = (0,),
        goals: form.Goals = (),
        seeds: form.Seeds = (1,),
        profile: form.Profile = None,
        tasks: form.Tasks = None,
        overrides: form.Overrides = (),
        workers: form.Workers = None,
        dask: form.Dask = None,
        root: form.Root = ".",
        track: form.Track = True,
    ) -> State[Rows]:
        """Learn every method with every ordering, goal and seed, side by side. The same parameters again go on."""
        wanted = Comparison(sequence, methods, orderings, goals, seeds, profile, tasks, overrides)
        to = tell or get_run_logger().info
        return as_prefect_state(lambda: _compare(wanted, planned, workers, dask, Path(root), to, ended, track=track))

    return compare_runs


def _compare(
    wanted: Comparison,
    planned: list[Planned] | None,
    workers: int | None,
    dask: str | None,
    root: Path,
    tell: Tell,
    ended: Callable[[Results], None],
    *,
    track: bool,
) -> State[Rows]:
    prepare(root)
    with liveness_lock(root, flow_run.id), _pool(wanted, workers, dask, root) as pool:
        if planned is None:
            planned = plan(wanted, root, pool.share, pool.mistakes)
        results = compare(planned, root, pool, tell, track=track)
    ended(results)
    outage = Outage(lambda message: tell(f"note: {message}"))
    outage.run_with_fallback(lambda _: comparison_artifact(wanted.sequence, results.frame), no_work, fallback=no_work)
    if results.error is not None:
        raise results.error
    rows = [{str(name): value for name, value in row.items()} for row in results.frame.to_dict("records")]
    return completed(rows, results.unrecorded)


@contextmanager
def _pool(wanted: Comparison, workers: int | None, dask: str | None, root: Path) -> Iterator[WorkerPool]:
    """Processes of this machine, or the workers of a cluster."""
    if dask is None:
        yield local_pool(wanted, workers, lambda: learn_in_prefect_process(root))
        return
    try:
        from flows.orchestration.dask_workers import dask_pool
    except ImportError as error:
        cure = "pip install -e '.[dask]'"
        raise CpgError(f"a Dask cluster needs what is not installed ({error.name}): {cure}") from error
    with dask_pool(dask, workers) as pool:
        yield pool


compare_runs = compare_flow()
