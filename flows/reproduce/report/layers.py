"""Where each task's weights live."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from flows.reproduce.report.drawing import TASK_COLOURS, figure, look
from flows.reproduce.result import RunResult

RELEASED_COLOUR = "#dddddd"


def ownership(result: RunResult) -> Figure:
    """A bar a shared layer, from the images down to the head: the share of its weights that each task owns."""
    counts = np.array(list(result.owned.values()), dtype=float)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    names = [f"{place} ({_short(int(total))})" for place, total in enumerate(counts.sum(axis=1), 1)]
    tasks = counts.shape[1] - 1
    colours = mpl.colormaps[TASK_COLOURS].resampled(tasks)
    drawn = figure(1.3 + 0.19 * len(names))
    panel = drawn.subplots()
    rows, left = np.arange(len(names)), np.zeros(len(names))
    for task in range(1, tasks + 1):
        panel.barh(rows, shares[:, task], left=left, color=colours(task - 1), height=0.85)
        left += shares[:, task]
    panel.barh(rows, shares[:, 0], left=left, color=RELEASED_COLOUR, height=0.85)
    panel.set(title=f"{look(result).label} (grey: released)", xlim=(0, 100))
    panel.set(xlabel="share of the layer's weights, %", ylabel="layer (its weights)")
    panel.set_yticks(rows, names)
    panel.invert_yaxis()
    panel.grid(visible=False)
    norm = BoundaryNorm(np.arange(tasks + 1) + 0.5, colours.N)
    ticks = [task for task in range(1, tasks + 1) if tasks <= 10 or task == 1 or task % 5 == 0]
    drawn.colorbar(ScalarMappable(norm, colours), ax=panel, label="owner, task", ticks=ticks, aspect=35)
    return drawn


def _short(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k" if count >= 1e3 else str(count)
