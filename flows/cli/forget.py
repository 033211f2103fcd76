"""`cpg forget`: a task of a run is erased, here and wherever its copies can be reached."""

from __future__ import annotations

from pathlib import Path

import typer

from cpg_core.errors import CpgError
from flows.cli import options
from flows.cli.errors import ExitCode
from flows.cli.runs import opened


def forget(
    name: options.RunName,
    task: options.ForgottenTask = None,
    yes: options.Yes = False,
    pushed: options.Pushed = False,
    erase_name: options.EraseName = False,
    root: options.ReadRoot = options.HERE,
) -> None:
    """Forget a task of a run for good: every other task is recalled to the bit as before. Asks first.

    Erased are its head, batch norm, biases, picks, and the weights that no later task uses; those are free for new
    tasks. What later tasks use is handed to the first of them. Copies go from work/, DVC and MLflow. Without --task it
    erases what an earlier call could not reach.

    Exit code 1: the answer was no, and nothing is changed. Exit code 3: it is forgotten, but not erased everywhere;
    what is left is named.
    """
    from flows.cli.erase import erase_elsewhere, mlflow_place
    from flows.environment import prepare

    run = opened(root, name)
    mlflow_place(root)  # a light install that cannot reach it says so before anything is forgotten
    known = {known.name for known in run.spec.tasks}
    before = [gone for gone in run.spec.forgotten if task is not None and gone.name == task]
    if task is not None and (task in known or not before):
        _forget(name, task, root, yes=yes, erase_name=erase_name)
    elif not run.spec.forgotten:
        raise CpgError("which task? Give --task NAME")
    elif before:
        typer.echo(f"{task} was forgotten on {before[-1].time[:10]}")
    prepare(root)
    problems = erase_elsewhere(opened(root, name), typer.echo, pushed=pushed)
    for problem in problems:
        typer.echo(f"not erased: {problem}", err=True)
    if problems:
        typer.echo(f"To erase what is left: cpg forget {name}", err=True)
        raise typer.Exit(ExitCode.INCOMPLETE)
    typer.echo(f"To prove that the others are as they were: cpg audit {name}")


def _forget(name: str, task: str, root: Path, *, yes: bool, erase_name: bool) -> None:
    from cpg_core.recall.copies import runs_with_task
    from cpg_core.recall.forget import carry_out, plan
    from flows.versioning.erase import copies_of

    planned = plan(opened(root, name), task)
    for line in planned.lines():
        typer.echo(line)
    if not yes and typer.prompt(f"Type {task} to forget it for good", default="", show_default=False) != task:
        typer.echo(f"{task} is not forgotten", err=True)
        raise typer.Exit(ExitCode.FAILED)
    others = runs_with_task(planned.run, planned.index)
    copies = copies_of(planned.run, planned.index)
    pushed = copies.hashes if copies.remote else ()
    carry_out(planned, cache=copies.hashes, remote=pushed, keep_name=not erase_name)
    typer.echo(f"{task} is forgotten; the other tasks give the same bits")
    for other in others:
        typer.echo(f"note: run {other} has learned the same task; to forget it there: cpg forget {other} --task {task}")
