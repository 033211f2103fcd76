"""What the goal and the ordering change, task by task."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from flows.reproduce.report.drawing import figure, look, percent
from flows.reproduce.result import RunResult

SHADES = ("#1f5fbf", "#e07b00", "#2a8f3c", "#7b4fb5")


def by_goal(results: Sequence[RunResult]) -> Figure:
    """A row a task: its final test accuracy under each goal; hollow where the goal was missed."""
    return _dots(results, [f"goal {result.goal}" for result in results])


def by_ordering(results: Sequence[RunResult]) -> Figure:
    """A row a task: its final test accuracy under each ordering; the number is its place there."""
    return _dots(results, [f"ordering {result.ordering}" for result in results], places=True)


def _dots(results: Sequence[RunResult], labels: list[str], *, places: bool = False) -> Figure:
    """Rows in the order of the first of the runs."""
    rows = {task.name: row for row, task in enumerate(results[0].tasks)}
    drawn = figure(1.1 + 0.2 * len(rows))
    panel = drawn.subplots()
    for result, label, shade in zip(results, labels, SHADES, strict=False):
        for place, task in enumerate(result.tasks, 1):
            spot = percent(task), rows[task.name]
            fill = shade if task.goal_met else "white"
            panel.plot(*spot, look(result).mark if not places else "o", color=shade, markerfacecolor=fill, markersize=5)
            if places:
                panel.annotate(str(place), spot, xytext=(0, 4), textcoords="offset points", ha="center", color=shade)
        panel.plot([], [], "o", color=shade, label=f"{label}: {100 * result.summary['average_accuracy']:.1f} %")
    panel.set_yticks(list(rows.values()), [name.replace("_", " ") for name in rows])
    panel.set(xlabel="test accuracy, %", ylim=(len(rows) - 0.5, -0.7))
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    return drawn
