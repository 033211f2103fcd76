"""Figure 2 of the paper, and what a model's accuracy costs in size."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from cpg_core.methods import find
from flows.reproduce.report.drawing import WIDTH_IN, Look, figure, look
from flows.reproduce.result import RunResult, averages, first_seeds

FOLLOWED = (1, 5, 10, 15)
"""The tasks that Figure 2 follows, as far as the sequence has them."""
STRONG = {"den", "sequential", "cpg"}
"""The methods of the paper's Figure 2; its "fine-tune" is learning in place."""


def followed(results: Mapping[str, RunResult]) -> list[int]:
    """Which tasks Figure 2 follows."""
    longest = max((len(result.tasks) for result in _of_one_network(results)), default=0)
    return [task for task in FOLLOWED if task <= longest] or [1]


def figure_2(results: Mapping[str, RunResult], tasks: list[int]) -> Figure:
    """The test accuracy of early tasks as later ones are learned: a panel a task, a line a run (Figure 2)."""
    drawn = Figure(figsize=(WIDTH_IN * len(tasks), 3.6), layout="constrained")
    for panel, task in zip(drawn.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _follow(panel, _of_one_network(results), task)
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3 * len(tasks), frameon=False)
    return drawn


def accuracy_and_size(results: Mapping[str, RunResult]) -> Figure:
    """Average test accuracy against the bytes that recall needs: a point a run."""
    drawn = figure(4.4)
    panel = drawn.subplots()
    alike: dict[Look, list[RunResult]] = {}
    for result in results.values():
        alike.setdefault(look(result), []).append(result)
    for seen, runs in alike.items():
        sizes = [run.summary["model_mb"] for run in runs]
        label = f"{seen.label}, {len(runs[0].tasks)} tasks"
        panel.plot(sizes, averages(runs), seen.mark, color=seen.colour, label=label, markersize=6, alpha=0.85)
    panel.set(xscale="log", xlabel="model, MB (log scale)", ylabel="average test accuracy, %")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    return drawn


def _of_one_network(results: Mapping[str, RunResult]) -> list[RunResult]:
    """Runs in the sequence's own order; models apart have nothing to forget."""
    runs = first_seeds(results).values()
    return [r for r in runs if not find(r.method).independent and r.ordering == "0" and r.goal == "avg"]


def _follow(panel: Axes, lines: list[RunResult], task: int) -> None:
    for result in lines:
        if task <= len(result.tasks):
            seen, strong = look(result), result.method in STRONG
            curve = [100 * row[task - 1] for row in result.matrix[task - 1 :]]
            places = range(task, len(result.tasks) + 1)
            line = panel.plot(places, curve, marker=".", markersize=4, color=seen.colour, label=seen.label)[0]
            line.set(linewidth=2.0 if strong else 1.0, alpha=1.0 if strong else 0.45)
    panel.set(title=f"task {task}", xlabel="tasks learned", ylabel="test accuracy, %")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
