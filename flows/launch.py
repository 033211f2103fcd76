"""Learn a run from the command line: plainly, or as a Prefect flow with a server at hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import typer

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from flows.console.reporters import Listen
from flows.console.tables import summary_line
from flows.console.terminal import on_terminal
from flows.environment import prepare, quiet
from flows.orchestration.server import server
from flows.persist import Persist
from flows.sweep.comparison import Comparison


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
        run: the run that the flow will find by its parameters.
        parameters: those, without `root` and `track`.
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
    if plain:
        from flows.local_runner import learn as learn_plainly

        learn_plainly(run, listen, persist)
    else:
        with server(root / ".prefect") as wait:
            from flows.orchestration.outage import despite_outage
            from flows.orchestration.run_log import also_in_logs
            from flows.orchestration.sequence import add_flow, sequence_flow
            from flows.tracking.sync import open_store

            quiet()
            if track:
                open_store(run)  # while the server starts
            wait()
            make = sequence_flow if what == "sequence" else add_flow
            with despite_outage(run, typer.echo):
                make(also_in_logs(listen), persist)(**parameters, root=str(root), track=track)
    typer.echo(summary_line(run))
    return persist.unrecorded


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
    from flows.sweep.comparing import Results, compare, local_crew
    from flows.sweep.comparison import plan
    from flows.sweep.worker_pool import PlainSlot

    prepare(root)
    if plain and dask:
        raise CpgError("--dask hands runs to a cluster through Prefect: leave out --plain, or --dask")
    crew = local_crew(wanted, None if dask else workers, lambda: PlainSlot(root))
    if not dask:  # refused before a server starts; of a cluster only Prefect learns how many cores it has
        plan(wanted, root, crew.share, crew.mistakes)
    if plain:
        results = compare(wanted, root, crew, typer.echo, track=track)
        if results.error is not None:
            raise results.error
        return results.unrecorded
    with server(root / ".prefect") as wait:
        from flows.orchestration.compare import compare_flow

        quiet()
        wait()
        ended: list[Results] = []
        flow = compare_flow(typer.echo, ended.append)
        flow(**asdict(wanted), workers=workers, dask=dask, root=str(root), track=track)
        return ended[0].unrecorded
