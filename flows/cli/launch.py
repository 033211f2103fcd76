"""Learn a run from the command line: plainly, or as a Prefect flow with a server at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from flows.console.reporters import Listen
from flows.console.tables import summary_line
from flows.console.terminal import on_terminal, starting_server
from flows.environment import prepare, quiet
from flows.orchestration.server import ServerNotStarted, server
from flows.persist import Persist
from flows.sweep.comparison import Comparison, Planned

if TYPE_CHECKING:
    from flows.sweep.comparing import Results


def learn(
    what: Literal["sequence", "add"],
    run: Run,
    parameters: dict[str, Any],
    root: Path,
    *,
    plain: bool,
    track: bool,
    listen: Listen = on_terminal,
) -> str | None:
    """Learn what is left of a run, and print how it came out.

    Args:
        what: which flow.
        run: the run that its parameters mean.
        parameters: those, without `root` and `track`: what Prefect shows.
        root: the folder of results.
        plain: without Prefect.
        track: recorded in MLflow.
        listen: who is told how it goes.

    Returns:
        Why MLflow refuses to record what was learned; None if it does not.

    Raises:
        CpgError: the flow failed for something that the user can mend.
        Interrupted: a signal came; the same call goes on from there.
    """
    prepare(root)
    persist = Persist(root, track=track)
    if plain or not _learn_in_flow(what, run, parameters, root, persist, track=track, listen=listen):
        from flows.local_runner import learn as learn_here

        learn_here(run, listen, persist)
    typer.echo(summary_line(run))
    return persist.unrecorded


def _learn_in_flow(
    what: Literal["sequence", "add"],
    run: Run,
    parameters: dict[str, Any],
    root: Path,
    persist: Persist,
    *,
    track: bool,
    listen: Listen,
) -> bool:
    """The same as a Prefect flow; whether a server was there for it."""
    with server(root / ".prefect", starting_server) as wait:
        from flows.orchestration.outage import despite_outage
        from flows.orchestration.run_log import terminal_and_log
        from flows.orchestration.sequence import add_flow, sequence_flow
        from flows.tracking.sync import open_store

        quiet()
        if track:
            open_store(run)  # while the server starts
        if not _ready(wait):
            return False
        make = sequence_flow if what == "sequence" else add_flow
        with despite_outage(lambda: run.frozen() == len(run.spec.tasks), typer.echo):
            make(terminal_and_log(listen), run, persist)(**parameters, root=str(root), track=track)
    return True


def learn_side_by_side(
    wanted: Comparison, workers: int | None, dask: str | None, root: Path, *, plain: bool, track: bool
) -> str | None:
    """Learn what is left of every run of a comparison, and print how each came out.

    Args:
        wanted: what to compare.
        workers: how many runs at a time; None: one a core, or one a worker of the cluster.
        dask: the address of a Dask cluster; None: processes of this machine.
        root: the folder of results.
        plain: without Prefect.
        track: recorded in MLflow.

    Returns:
        Of which runs MLflow refuses to record what was learned, and why; None if of none.

    Raises:
        CpgError: something asked for is wrong and nothing was begun, or a run is not finished at the end.
        Interrupted: a signal came; the same call goes on from there.
    """
    from flows.sweep.comparing import compare, local_pool
    from flows.sweep.comparison import plan
    from flows.sweep.worker_process import learn_in_process

    prepare(root)
    if dask == "":
        raise CpgError("--dask: an empty address; give one such as tcp://10.0.0.1:8786, or leave it out")
    if plain and dask:
        raise CpgError("--dask hands runs to a cluster through Prefect: leave out --plain, or --dask")
    if dask:
        in_flow = _compare_in_flow(wanted, None, workers, dask, root, track=track)
        if in_flow is None:
            raise CpgError("--dask hands runs to a cluster through Prefect, whose server did not start")
        return in_flow.unrecorded
    # Refused before a server starts; of a cluster only Prefect learns how many cores it has.
    pool = local_pool(wanted, workers, lambda: learn_in_process(root))
    planned = plan(wanted, root, pool.share, pool.mistakes)
    results = None if plain else _compare_in_flow(wanted, planned, workers, None, root, track=track)
    if results is None:
        results = compare(planned, root, pool, typer.echo, track=track)
    if results.error is not None:
        raise results.error
    return results.unrecorded


def _compare_in_flow(
    wanted: Comparison, planned: list[Planned] | None, workers: int | None, dask: str | None, root: Path, *, track: bool
) -> Results | None:
    """The same as a Prefect flow; None if no server was there for it."""
    with server(root / ".prefect", starting_server) as wait:
        from flows.orchestration.compare import compare_flow
        from flows.orchestration.outage import despite_outage

        quiet()
        if not _ready(wait):
            return None
        ended: list[Results] = []
        flow = compare_flow(typer.echo, planned, ended.append)
        with despite_outage(lambda: bool(ended), typer.echo):
            flow(**asdict(wanted), workers=workers, dask=dask, root=str(root), track=track)
    return ended[0]


def _ready(wait: Callable[[], object]) -> bool:
    """Whether the server that was started is there; else it is told."""
    try:
        wait()
    except ServerNotStarted as error:
        typer.echo(f"note: {error}; learning goes on without it", err=True)
        return False
    return True
