"""`cpg eval --by-class` and `--confusion`: how a task tells its classes apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cpg_core.errors import CpgError

if TYPE_CHECKING:
    from cpg_core.recall.recall import Evaluated
    from cpg_core.storage.run import Run

PICTURES = (".png", ".pdf", ".svg")


def require_classes(run: Run, task: str, picture: Path | None) -> None:
    """Refuse what a task cannot be shown by, before its images are read.

    Raises:
        CpgError: it has no classes to tell apart, or the picture cannot be written.
    """
    from cpg_core import objectives

    spec = run.task(task)
    if objectives.of(spec).by_class is None:
        raise CpgError(f"task '{task}': a task of kind {spec.kind} has no classes to tell apart; leave the option out")
    if picture is None:
        return
    if picture.suffix.lower() not in PICTURES:
        raise CpgError(f"--confusion {picture}: expected a name that ends in {', '.join(PICTURES)}")
    if not picture.parent.is_dir():
        raise CpgError(f"--confusion {picture}: there is no folder {picture.parent}; make it first")
    import matplotlib.figure  # noqa: F401  (where it is missing, that is told now)


def show_by_class(title: str, found: Evaluated, *, table: bool, picture: Path | None) -> None:
    """Print the recall of each class, and write the confusions as a picture."""
    from cpg_core.storage.files import write_by
    from flows.console.tables import print_table
    from flows.tracking.by_class import confusion_picture, recall_table

    if found.confusion is None:
        return
    if table:
        print_table(recall_table(found.classes, found.confusion))
    if picture is not None:
        drawn, kind = confusion_picture(title, found.classes, found.confusion), picture.suffix[1:].lower()
        write_by(picture, lambda aside: drawn.savefig(aside, format=kind))
        typer.echo(f"wrote {picture}")
