"""Figure 2 of the paper, and what a model's accuracy costs in size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from cpg_core.methods import find
from flows.reproduce.conversions import Converted
from flows.reproduce.report.drawing import LOOKS, Look, figure, look
from flows.reproduce.result import RunResult, averages, first_seeds, judged
from flows.reproduce.sizes import Published, one_network_mb

FOLLOWED = (1, 5, 10, 15)
"""The tasks that Figure 2 follows, as far as the sequence has them."""
COLUMNS = 2
STRONG = {"den", "sequential", "cpg"}
"""The methods of the paper's Figure 2; its "fine-tune" is learning in place."""


def followed(results: Mapping[str, RunResult]) -> list[int]:
    """Which tasks Figure 2 follows, by their places: of those that are judged by labels."""
    longest = max((result.tasks for result in _of_one_network(results)), key=len, default=())
    places = [place for place, task in enumerate(longest, 1) if not task.agreement]
    return [places[task - 1] for task in FOLLOWED if task <= len(places)] or [1]


def figure_2(results: Mapping[str, RunResult]) -> Figure | None:
    """The test accuracy of early tasks as later ones are learned: a panel a task, a line a run (Figure 2).

    None where no run has its tasks in one network.
    """
    together, tasks = _of_one_network(results), followed(results)
    if not together:
        return None
    columns = min(COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    drawn = figure(1.6 * rows + 1.3)
    panels = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for panel in panels[len(tasks) :]:
        panel.remove()
    for panel, task in zip(panels, tasks, strict=False):
        _follow(panel, together, task)
    drawn.supxlabel("tasks learned", fontsize=8)
    drawn.supylabel("test accuracy, %", fontsize=8)
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return drawn


def accuracy_and_size(
    results: Mapping[str, RunResult], published: Sequence[Published] = (), stored: Sequence[Converted] = ()
) -> Figure:
    """Average test accuracy against the bytes that recall needs: a point a run, the paper's own points hollow.

    Runs that were stored otherwise stand beside what they were made from; a line marks the bytes of one network.
    """
    drawn = figure(4.6)
    panel = drawn.subplots()
    alike: dict[Look, list[RunResult]] = {}
    for result in (*results.values(), *(one.after for one in stored)):
        alike.setdefault(look(result), []).append(result)
    if (network := one_network_mb(results.values())) is not None:
        panel.axvline(network, color="#404040", linewidth=1.0, linestyle=":", label="one network in float32")
    for seen, runs in alike.items():
        sizes = [run.summary["model_mb"] for run in runs]
        label = f"{seen.label}, {judged(runs[0])} tasks"
        panel.plot(sizes, averages(runs), seen.mark, color=seen.colour, label=label, markersize=6, alpha=0.85)
    for point in published:
        colour = LOOKS[point.method][1]
        panel.plot(point.mb, point.average, "D", color=colour, markerfacecolor="white", markersize=5)
    if published:
        label = "hollow: the paper, full width"
        panel.plot([], [], "D", color="#1c1c1c", markerfacecolor="white", markersize=5, label=label)
    panel.set(xscale="log", xlabel="model, MB (log scale)", ylabel="average test accuracy, %")
    panel.margins(x=0.12, y=0.08)
    panel.xaxis.set_major_locator(LogLocator(subs=(1,) if published else (1, 2, 5)))
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
    panel.set_title(f"task {task}")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
