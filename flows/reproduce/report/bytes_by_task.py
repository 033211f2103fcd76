"""What each task adds on disk, against a model a task, and the accuracy that it gets for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cpg_core.recall.metrics import MEGABYTE
from flows.reproduce.report.drawing import figure, look, percent
from flows.reproduce.result import RunResult, averages


def bytes_by_task(results: Mapping[str, RunResult]) -> Figure | None:
    """Two panels over the tasks in order: MB of each delta, and test accuracy in the end; means over seeds.

    None where either side is not there.
    """
    in_order = [run for run in results.values() if run.ordering == "0"]
    independent = [run for run in in_order if run.method == "scratch"]
    sides = independent, [run for run in in_order if (run.method, run.goal) == ("cpg", "avg")]
    if not all(sides):
        return None
    drawn = figure(4.4)
    sizes, accuracies = drawn.subplots(2, 1, sharex=True)
    for runs in sides:
        seen = look(runs[0])
        tasks = range(1, len(runs[0].tasks) + 1)
        megabytes = _mean([[task.delta_bytes / MEGABYTE for task in run.tasks] for run in runs])
        accuracy = _mean([[percent(task) for task in run.tasks] for run in runs])
        style = {"color": seen.colour, "marker": seen.mark, "markersize": 3.5, "linewidth": 1.2}
        whole = np.mean([run.summary["model_mb"] for run in runs])
        sizes.plot(tasks, megabytes, label=f"{seen.label}: {whole:.1f} MB in all", **style)
        accuracies.plot(tasks, accuracy, label=f"{seen.label}: mean {np.mean(averages(runs)):.1f} %", **style)
    sizes.set(ylabel="MB that a task adds", ylim=(0, None))
    accuracies.set(ylabel="test accuracy, %", xlabel="task")
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in (sizes, accuracies):
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=2, frameon=False)
    return drawn


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [float(value) for value in np.mean(rows, axis=0)]
