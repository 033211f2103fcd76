"""Pictures of the results, as files that `dvc plots` shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cpg_core.methods import METHODS
from flows.reproduce.result import RunResult

FOLLOWED = (1, 5, 10, 15)
"""The tasks that Figure 2 follows, as far as the sequence has them."""


def figure_2(results: Mapping[str, RunResult], path: Path) -> None:
    """The accuracy of early tasks as later ones are learned: a panel a task, a line a run of one network (Figure 2)."""
    lines = {key: result for key, result in results.items() if not METHODS[result.method].apart}
    longest = max((len(result.tasks) for result in lines.values()), default=0)
    tasks = [task for task in FOLLOWED if task <= longest] or [1]
    figure = Figure(figsize=(3.2 * len(tasks), 3.4), layout="constrained")
    for panel, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _follow(panel, lines, task)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def _follow(panel: Axes, lines: Mapping[str, RunResult], task: int) -> None:
    for key, result in lines.items():
        if result.ordering == "0" and task <= len(result.tasks):
            curve = [100 * row[task - 1] for row in result.matrix[task - 1 :]]
            panel.plot(range(task, len(result.tasks) + 1), curve, marker=".", label=key)
    panel.set(title=f"task {task}", xlabel="tasks learned", ylabel="test accuracy, %")
    panel.grid(alpha=0.3)


def accuracy_and_size(results: Mapping[str, RunResult], path: Path) -> None:
    """Average accuracy against the bytes that recall needs: a point a run."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    panel = figure.subplots()
    for key, result in results.items():
        size, accuracy = result.summary["model_mb"], 100 * result.summary["average_accuracy"]
        panel.plot(size, accuracy, "o")
        panel.annotate(key, (size, accuracy), xytext=(5, 3), textcoords="offset points", fontsize="small")
    panel.set(xscale="log", xlabel="model, MB", ylabel="average test accuracy, %")
    panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
