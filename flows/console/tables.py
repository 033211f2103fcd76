"""What the commands print of runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from cpg_core.errors import CpgError
from cpg_core.recall.metrics import summary
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import open_run

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
        out.add_row(*("" if pd.isna(cell) else str(cell) for cell in row))
    console = Console(width=max(Console().width, NARROWEST))
    with console.capture() as captured:
        console.print(out)
    return captured.get().rstrip("\n")


def summary_line(run: Run) -> str:
    """How a run came out, in a line."""
    if run.frozen() == 0:
        return f"{run.spec.name}: no task learned yet"
    found = summary(run)
    return (
        f"{run.spec.name}: {run.frozen()} of {len(run.spec.tasks)} tasks, "
        f"average accuracy {found['average_accuracy']:.1%}, goals met {found['goals_met']:.0f}, "
        f"backward transfer {found['backward_transfer']:+.1%}, budget x{found['expansion_x']:.2f}, "
        f"redundancy x{found['redundancy_x']:.2f}, model {found['model_mb']:.2f} MB, {found['seconds']:.0f} s"
    )


def runs(root: Path) -> pd.DataFrame:
    """A row a run."""
    rows = []
    for path in sorted((root / "checkpoints").glob(f"*/{RUN}")):
        try:
            rows.append(_row(open_run(root, path.parent.name)))
        except CpgError as error:  # one that cannot be read does not hide the others
            rows.append({"run": path.parent.name, "method": f"cannot be read: {str(error).splitlines()[0]}"})
    return pd.DataFrame(rows)


def _row(run: Run) -> dict[str, str]:
    spec, frozen = run.spec, run.frozen()
    average = f"{summary(run)['average_accuracy']:.1%}" if frozen else ""
    progress = f"{frozen}/{len(spec.tasks)}"
    return {"run": spec.name, "method": spec.method, "tasks": progress, "average accuracy": average}
