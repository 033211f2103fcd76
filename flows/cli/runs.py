"""Runs on disk: how a command opens one, and the commands that keep order among them: list, rename, remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli import options
from flows.cli.errors import ExitCode

if TYPE_CHECKING:
    from cpg_core.storage.run import Run

RECORDED = "What MLflow and Prefect have recorded of it stays there"


def opened(root: Path, name: str) -> Run:
    """A run to read, on the device that is here.

    Raises:
        CpgError: there is none of that name, or its files are not here.
    """
    from cpg_core.recall.recall import device_note
    from cpg_core.storage.runs import open_run
    from flows.versioning.dvc_pointers import require_here

    require_here(root, name)
    run = open_run(root, name)
    if (note := device_note(run)) is not None:
        typer.echo(f"note: {note}", err=True)
    return run


def list_runs(root: options.ReadRoot = options.HERE) -> None:
    """List the runs: where they are, how far they are, what they take of the disk, and how they came out."""
    from flows.console.tables import print_table, runs

    found = runs(root)
    if found.empty:
        typer.echo(f"no runs in {root / 'checkpoints'} yet; learn one: cpg run digits-5")
    else:
        print_table(found)


def rename(name: options.RunName, new: options.NewName, root: options.ReadRoot = options.HERE) -> None:
    """Give a run another name: its checkpoints with DVC's pointer files, and its work in progress.

    To go on with it, give the command that made it with --run NEW.
    """
    from cpg_core.storage.branches import branches
    from cpg_core.storage.manage import rename as rename_run

    rename_run(root, name, new)
    typer.echo(
        f"{name} is named {new} now; the command that made it goes on with it if given with --run {new}.\n"
        f"{RECORDED} under the old name; what comes is recorded under the new one."
    )
    if found := branches(root, new):
        typer.echo(f"branched from it, and still so: {', '.join(found)}")


def branch(
    name: options.RunName, after: options.After, to: options.BranchRun, root: options.ReadRoot = options.HERE
) -> None:
    """Begin a run that goes on from a frozen task of another one; tasks are then added to it by `cpg add`.

    It has the tasks up to that one, which stay where they are: nothing is copied, and their run cannot be removed as
    long as the branch is there.
    """
    from cpg_core.storage.runs import branch as branched

    made = branched(opened(root, name), after, to)
    tasks = ", ".join(task.name for task in made.spec.tasks)
    typer.echo(f"{to} goes on from {name} after {after} ({tasks}); next: cpg add {to} TASK.YAML")


def remove(name: options.RunName, yes: options.Yes = False, root: options.ReadRoot = options.HERE) -> None:
    """Remove a run for good: what it learned, DVC's pointer files of it, and its work in progress. Asks first.

    Exit code 1: the answer was no, and nothing is removed.
    """
    from cpg_core.recall.metrics import MEGABYTE
    from cpg_core.storage.manage import remove as remove_run
    from cpg_core.storage.manage import require_run, size

    checkpoints, work = require_run(root, name)
    megabytes = (size(checkpoints) + size(work)) / MEGABYTE
    if not yes and not typer.confirm(f"Remove {checkpoints} and {work} ({megabytes:.2f} MB) for good?"):
        typer.echo(f"{name} is not removed", err=True)
        raise typer.Exit(ExitCode.FAILED)
    remove_run(root, name)
    typer.echo(f"removed {name} ({megabytes:.2f} MB). {RECORDED}; so do files in DVC's cache, until dvc gc --workspace")
