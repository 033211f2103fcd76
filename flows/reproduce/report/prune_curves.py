"""What pruning cost each task, and where it stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure

from flows.reproduce.report.drawing import SMALLEST_PT, figure, look
from flows.reproduce.result import RunResult, TaskResult

COLUMNS = 4
AFTER_PRUNING = ("recover", "retrain", "split", "freeze")


@dataclass(frozen=True)
class Curve:
    """Accuracy in [0, 1], on the split that decides, at each sparsity that was tried; `chosen`: place in both."""

    sparsity: tuple[float, ...]
    accuracy: tuple[float, ...]
    chosen: int


def curve(task: TaskResult) -> Curve | None:
    """From the unpruned state on, at the width that the task was frozen at; None for a task that was not pruned.

    Nor has one that is pruned to agree with a network: its goal, that network itself, is met by no sparsity.
    """
    pruned = [stage for stage in task.stages if stage.stage == "prune"]
    if not pruned or task.agreement:
        return None
    check = [stage for stage in task.stages if stage.stage == "check"][-1]  # a task is pruned after its last
    frozen = next(stage.source for stage in task.stages if stage.stage in AFTER_PRUNING)
    numbers = [check.source, *(stage.number for stage in pruned)]
    tried = [(0.0, check.accuracy), *((stage.sparsity, stage.accuracy) for stage in pruned)]
    sparsity, accuracy = zip(*((s or 0.0, a or 0.0) for s, a in tried), strict=True)
    return Curve(sparsity, accuracy, numbers.index(frozen))


def prune_curves(result: RunResult) -> Figure | None:
    """A panel a task: accuracy over the goal against sparsity, with what was chosen; None if nothing was pruned."""
    curves = [curve(task) for task in result.tasks]
    if not any(curves):
        return None
    rows = math.ceil(len(curves) / COLUMNS)
    drawn = figure(0.7 + 0.95 * rows)
    panels = drawn.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
    for panel in panels[len(curves) :]:
        panel.remove()
    seen = look(result)
    for place, (panel, task, found) in enumerate(zip(panels, result.tasks, curves, strict=False), 1):
        panel.axhline(0, color="#d0312d", linewidth=0.8)
        panel.set_title(f"{place}", fontsize=SMALLEST_PT, pad=2)
        if found is not None:
            over = [100 * (accuracy - task.goal) for accuracy in found.accuracy]
            panel.plot(found.sparsity, over, ".-", color=seen.colour, linewidth=1, markersize=3)
            panel.plot(found.sparsity[found.chosen], over[found.chosen], "o", color="black", markersize=4)
    panels[0].set(xlim=(-0.05, 1.05), xticks=[0, 0.5, 1])
    drawn.suptitle(f"{seen.label}: points over the goal", fontsize=8.5)
    drawn.supxlabel("sparsity", fontsize=8)
    return drawn
