"""Learn a run from the command line: plainly, or as a Prefect flow with a server at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from cpg_core.run import Run
from flows.environment import prepare, quiet
from flows.reporters import Listen
from flows.server import server
from flows.tables import summary_line
from flows.terminal import on_terminal


def learn(
    what: Literal["sequence", "add"],
    run: Run,
    parameters: dict[str, Any],
    root: Path,
    *,
    plain: bool,
    track: bool,
    listen: Listen = on_terminal,
) -> None:
    """Learn what is left of a run, and print how it came out.

    Args:
        what: which flow.
        run: the run that the flow will find by its parameters.
        parameters: those, without `root` and `track`.
        root: the folder of results.
        plain: without Prefect.
        track: recorded in MLflow.
        listen: who is told how it goes.

    Raises:
        CpgError: the flow failed for something that the user can mend.
        Interrupted: a signal came; the same call goes on from there.
    """
    prepare(root)
    if plain:
        from flows.plain import learn as learn_plainly
        from flows.tracking import choose_track

        learn_plainly(run, listen, choose_track(track))
    else:
        with server(root / ".prefect") as wait:
            from flows.logs import also_in_logs
            from flows.outage import despite_outage
            from flows.sequence import add_flow, sequence_flow
            from flows.tracking import open_store

            quiet()
            if track:
                open_store(run)  # while the server starts
            wait()
            make = sequence_flow if what == "sequence" else add_flow
            with despite_outage(run, typer.echo):
                make(also_in_logs(listen))(**parameters, root=str(root), track=track)
    typer.echo(summary_line(run))
