"""How well the networks of a verification task tell pairs of images apart."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from flows.reproduce.report.drawing import figure, look
from flows.reproduce.result import RunResult
from flows.tracking.roc import draw_roc, finish_roc, said_of


def roc(results: Iterable[RunResult]) -> list[Figure]:
    """A figure a verification task: a curve a run, of the task's test pairs."""
    curves: dict[str, list[RunResult]] = {}
    for result in results:
        for task in result.tasks:
            if task.roc:
                curves.setdefault(task.name, []).append(result)
    return [_drawn(name, runs) for name, runs in curves.items()]


def _drawn(name: str, runs: list[RunResult]) -> Figure:
    drawn = figure(3.6)
    panel = drawn.subplots()
    for run in runs:
        task = next(task for task in run.tasks if task.name == name)
        seen = look(run)
        draw_roc(panel, task.roc, task.figures, f"{seen.label}: {said_of(task.figures)}", seen.colour)
    finish_roc(panel)
    panel.set_title(name)
    drawn.legend(loc="outside lower center", frameon=False)
    return drawn
