"""What the commands print of runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cpg_core.errors import CpgError
from cpg_core.recall import metrics
from cpg_core.recall.metrics import MEGABYTE, summary
from cpg_core.storage.files import Damaged
from cpg_core.storage.manage import size
from cpg_core.storage.run import Run
from cpg_core.storage.runs import names, open_run
from flows.versioning.dvc_pointers import require_here

NARROWEST = 132
"""Columns that the widest table takes; on a narrower terminal its lines wrap, and nothing is cut off."""


def print_table(frame: pd.DataFrame) -> None:
    """Print a table."""
    print(table_text(frame))


def table_text(frame: pd.DataFrame) -> str:
    """A table for people; numbers to the right."""
    out = Table(box=None, pad_edge=False)
    for name in frame.columns:
        out.add_column(str(name), justify="right" if pd.api.types.is_numeric_dtype(frame[name]) else "left")
    for row in frame.itertuples(index=False):
        out.add_row(*(Text("" if pd.isna(cell) else str(cell)) for cell in row))  # no markup: a cell may be a path
    console = Console(width=max(Console().width, NARROWEST))
    with console.capture() as captured:
        console.print(out)
    return captured.get().rstrip("\n")


def summary_line(run: Run) -> str:
    """How a run came out, in a line."""
    forgotten = f"; forgotten: {', '.join(gone.label for gone in run.spec.forgotten)}" if run.spec.forgotten else ""
    if run.frozen() == 0:
        return f"{run.spec.name}: no task learned yet{forgotten}"
    found = summary(run)
    untimed = sum(metrics.seconds(run, index) is None for index in range(1, run.frozen() + 1))
    times = f"{found['seconds']:.0f} s" + (f" (of {untimed} tasks they are lost)" if untimed else "")
    return (
        f"{run.spec.name}: {run.frozen()} of {len(run.spec.tasks)} tasks, "
        f"average accuracy {found['average_accuracy']:.1%}, goals met {found['goals_met']:.0f}, "
        f"backward transfer {found['backward_transfer']:+.1%}, budget x{found['expansion_x']:.2f}, "
        f"redundancy x{found['redundancy_x']:.2f}, model {found['model_mb']:.2f} MB, {times}{forgotten}"
    )


def tasks(run: Run, recall: Callable[[str], float] | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """A row a frozen task of a run, and why those cannot be read or recalled that cannot: damage, or no images."""
    why: dict[str, str] = {}

    def recalled(task: str) -> float:
        assert recall is not None
        try:
            return recall(task)
        except CpgError as error:
            why[task] = str(error)
            return math.nan

    rows = []
    for index in range(1, run.last_frozen() + 1):
        name = run.spec.tasks[index - 1].name
        try:
            rows.append(metrics.row(run, index, recalled if recall else None))
            run.require_delta(index)
        except CpgError as error:
            why[name] = str(error)
            if len(rows) < index:
                rows.append({"task": name})
    return pd.DataFrame(rows), why


def runs(root: Path) -> pd.DataFrame:
    """A row a run: where it is, how far it is, what it takes of the disk in MB (2^20 bytes), and how it came out.

    Of a delta its size is checked, which takes no time; `cpg audit` reads its bytes.
    """
    return pd.DataFrame([_row(root, name) for name in names(root)])


def _row(root: Path, name: str) -> dict[str, object]:
    place = root / "checkpoints" / name
    found: dict[str, object] = {"run": name, "place": place.relative_to(root).as_posix(), "method": None, "tasks": None}
    average: str | None = None
    try:
        run = open_run(root, name)
        frozen, of = run.frozen(), len(run.spec.tasks)
        found |= {"method": run.spec.method, "tasks": f"{frozen}/{of}"}
        require_here(root, name)
        state = "finished" if frozen == of else "not finished"
        state += f", {len(run.spec.forgotten)} forgotten" if run.spec.forgotten else ""
        average = f"{summary(run)['average_accuracy']:.1%}" if frozen else None
        for index in range(1, frozen + 1):
            run.require_delta(index)
    except Damaged as error:  # one that is damaged does not hide the others; `cpg audit` says what to do
        state = f"damaged: {_first_line(error, place).partition(';')[0]}"
    except CpgError as error:
        state = f"cannot be read: {_first_line(error, place)}"
    sizes = {"MB": _megabytes(place), "work MB": _megabytes(root / "work" / name)}
    return {**found, **sizes, "average accuracy": average, "state": state}


def _first_line(error: CpgError, place: Path) -> str:
    """What is wrong with a run, its files named by their places in its folder."""
    return str(error).splitlines()[0].replace(f"{place}/", "")


def _megabytes(folder: Path) -> float:
    return round(size(folder) / MEGABYTE, 2)
