"""How figures look: a colour a method, a mark a goal or ordering, sizes that a phone shows without scrolling."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cpg_core.storage.codecs import EXACT
from flows.reproduce.result import RunResult, TaskResult

WIDTH_IN = 3.6
"""Of a figure in inches: 346 pixels of a page, so that it is not made smaller on a phone."""
SMALLEST_PT = 7.0
"""Of the text in a figure."""
TASK_COLOURS = "viridis"
LOOKS = {
    "scratch": ("scratch", "#404040"),
    "finetune": ("fine-tune", "#9a9a9a"),
    "cpg": ("CPG", "#1f5fbf"),
    "pae": ("PAE", "#e07b00"),
    "packnet": ("PackNet", "#2a8f3c"),
    "piggyback": ("Piggyback", "#8c5a3c"),
    "progressive": ("ProgressiveNet", "#7b4fb5"),
    "sequential": ("in place", "#d0312d"),
    "den": ("DEN", "#c2318f"),
    "ewc": ("EWC", "#8f8a00"),
    "lwf": ("LwF", "#009aa6"),
}
"""A name and a colour a method."""
MARKS = {"avg": "o", "max": "s", "top": "^"}
STORED_MARKS = {"float32": "<", "bfloat16": "v", "int8": "*"}
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cpg",
    "font.family": "sans-serif",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALLEST_PT,
    "ytick.labelsize": SMALLEST_PT,
    "legend.fontsize": SMALLEST_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
}


@dataclass(frozen=True)
class Look:
    """How a run is drawn wherever it is drawn."""

    label: str
    colour: str
    mark: str


def look(result: RunResult) -> Look:
    """A run's look: its method's, told apart by goal, ordering and how it is stored; seeds look alike."""
    name, colour = LOOKS.get(result.method, (result.method, "#000000"))
    parts = [name]
    if result.method == "cpg":
        parts.append(result.goal)
    if result.ordering != "0":
        parts.append(f"ord. {result.ordering}")
    if result.store != EXACT:
        parts.append(f"in {result.store.values}")
    mark = MARKS.get(result.goal, "o") if result.ordering == "0" else "x" if result.ordering == "1" else "+"
    if result.store != EXACT:
        mark = STORED_MARKS[result.store.values]
    return Look(" ".join(parts), colour, mark)


def percent(task: TaskResult) -> float:
    """Its test accuracy by labels in the end; NaN, which draws nothing, where there are no labels."""
    return nan if task.by_labels is None else 100 * task.by_labels


@contextmanager
def styled() -> Iterator[None]:
    """Figures that are made and saved inside look alike."""
    with mpl.rc_context(RC):
        yield


def figure(height_in: float) -> Figure:
    """An empty figure of the one width."""
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def svg_uri(drawn: Figure) -> str:
    """The figure as an image that an HTML page holds within itself; the same figure gives the same text."""
    out = io.BytesIO()
    drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def save_png(drawn: Figure, path: Path) -> None:
    """The figure as a file that `dvc plots` shows."""
    drawn.savefig(path, dpi=150, metadata={"Software": None})
