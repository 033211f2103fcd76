"""`cpg export`: a task of a run as a file that needs nothing of this project."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from cpg_core.errors import CpgError
from flows.cli import options
from flows.cli.errors import ExitCode
from flows.cli.runs import opened

if TYPE_CHECKING:
    import pandas as pd

    from cpg_core.recall.export.task import Exported


def export(
    name: options.RunName,
    to: options.ExportTo,
    task: options.ExportTask = None,
    every: options.ExportAll = False,
    form: options.ExportFormat = "onnx",
    root: options.ReadRoot = options.HERE,
) -> None:
    """Write a task as one plain network for programs that know nothing of cpg: FILE.onnx, or FILE.pt2 for PyTorch.

    Channels that its answers do not depend on are left out. The file is read back and answers the task's test images
    as recall does, or there is no file. What it costs before and after, an image on one thread, is printed.

    Exit code 1: a task of --all cannot be exported; it is named at the end, and the others are there.
    """
    from cpg_core.recall.export.formats import FORMATS
    from cpg_core.recall.export.task import export as exported
    from flows.console.tables import print_table
    from flows.console.terminal import reading_bar

    if (task is None) != every:
        raise CpgError("expected --task NAME and a file for --to, or --all and a folder for --to")
    if f".{form}" not in FORMATS:
        raise CpgError(f"--format {form}: expected {' or '.join(end.removeprefix('.') for end in FORMATS)}")
    run = opened(root, name)
    files = {task: to} if task is not None else {record.name: to / f"{record.name}.{form}" for record in run.records()}
    if not files:
        raise CpgError(f"run {name}: no task is frozen yet, so there is nothing to export")
    done, problems = list["Exported"](), list[CpgError]()
    with reading_bar() as bar:
        for each, file in files.items():
            try:
                done.append(exported(run, each, file, partial(bar, each)))
            except CpgError as error:
                if not every:
                    raise
                problems.append(error)
    if done:
        print_table(_table(done))
    for one in done:
        typer.echo(f"wrote {one.path}: {_agrees(one)}")
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _table(done: list[Exported]) -> pd.DataFrame:
    """Two rows a task: the whole network, and what was written."""
    import pandas as pd

    return pd.DataFrame(
        {
            "task": one.task,
            "network": label,
            "channels": f"{cost.channels:,}",
            "multiply-adds": f"{cost.multiply_adds:,}",
            "bytes": f"{cost.bytes:,}",
            "ms an image": f"{cost.milliseconds:.2f}",
        }
        for one in done
        for label, cost in (("dense", one.before), ("exported", one.after))
    )


def _agrees(one: Exported) -> str:
    found = one.checked
    images = "test images" if found.no_test is None else "images of noise"
    why = "" if found.no_test is None else f"; the test images cannot be read: {found.no_test}"
    return f"as recall on {found.images:,} {images}, logits to {found.apart:.0e} of the largest{why}"
