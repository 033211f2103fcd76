"""Task against task: how accurate each is after each, and how much each picks of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from flows.reproduce.report.drawing import SMALLEST_PT, figure, look
from flows.reproduce.result import RunResult, labelled_matrix

WRITTEN_UP_TO = 10
"""Tasks for which a cell has room for its number."""


def accuracy_matrix(result: RunResult, lowest: float, highest: float) -> Figure:
    """Test accuracy of each task (columns) once each task was learned (rows); the colours' ends are in [0, 1]."""
    title = f"{look(result).label}: test accuracy, %"
    return _triangle(labelled_matrix(result), title, "task", "after task", 100 * lowest, 100 * highest)


def chooses(result: RunResult) -> bool:
    """Whether a task leaves out a weight of an earlier one that is there."""
    return any(0 < share < 1 for task in result.tasks for share in task.picked_of)


def picks(result: RunResult) -> Figure:
    """Share that each task (rows) computes with of what each earlier task (columns) owns, in percent."""
    title = f"{look(result).label}: picked, %"
    return _triangle([task.picked_of for task in result.tasks], title, "owner", "task", 0.0, 100.0)


def _triangle(
    rows: Sequence[Sequence[float]], title: str, columns: str, down: str, lowest: float, highest: float
) -> Figure:
    values = np.full((len(rows), max(map(len, rows), default=0) or 1), np.nan)
    for place, row in enumerate(rows):
        values[place, : len(row)] = [100 * value for value in row]
    drawn = figure(3.3)
    panel = drawn.subplots()
    edges = (np.arange(size + 1) + 0.5 for size in reversed(values.shape))
    mesh = panel.pcolormesh(*edges, values, vmin=lowest, vmax=highest, cmap="viridis")
    drawn.colorbar(mesh, ax=panel, shrink=0.8)
    if len(rows) <= WRITTEN_UP_TO:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                colour = "black" if value > (lowest + highest) / 2 else "white"
                x, y = column + 1, row + 1
                panel.text(x, y, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=SMALLEST_PT)
    panel.set(title=title, xlabel=columns, ylabel=down, xticks=_ticks(values.shape[1]), yticks=_ticks(len(rows)))
    panel.invert_yaxis()
    panel.grid(visible=False)
    return drawn


def _ticks(count: int) -> list[int]:
    return [place for place in range(1, count + 1) if count <= WRITTEN_UP_TO or place == 1 or place % 5 == 0]
