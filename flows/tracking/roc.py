"""How well a verification task tells pairs apart: its ROC curve, without any picture of a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]
LEAST_RATE = 1e-3
"""Where the axis of false accepts begins; points of less are drawn there."""


def draw_roc(axes: Axes, points: Points, figures: Mapping[str, float], label: str, colour: str) -> None:
    """Draw the curve of the test pairs in folds, and a mark at the accept rates that the record tells of all pairs.

    Args:
        axes: drawn on; false accepts are on a logarithmic axis, since a low rate is what is asked for.
        points: false and true accepts, rising.
        figures: of the task's record.
        label: names the curve.
        colour: of both.
    """
    false_accepts, true_accepts = np.array(points).T
    curve = axes.plot(np.maximum(false_accepts, LEAST_RATE), true_accepts, color=colour, linewidth=1.2, label=label)[0]
    curve.set_drawstyle("steps-post")  # what is between two points is not known
    axes.plot(figures["false_accept_rate"], figures["true_accept_rate"], "o", color=colour, markersize=5)


def finish_roc(axes: Axes) -> None:
    """Draw what chance gives, and name the axes."""
    chance = np.geomspace(LEAST_RATE, 1, 50)
    axes.plot(chance, chance, color="#9a9a9a", linewidth=0.8, linestyle=":", label="chance")
    axes.set(xscale="log", xlim=(LEAST_RATE, 1), ylim=(0, 1.02))
    axes.set(xlabel="pairs of two people accepted (log scale)", ylabel="pairs of one person accepted")


def said_of(figures: Mapping[str, float]) -> str:
    """The area and the accept rates, in words."""
    rates = f"{figures['true_accept_rate']:.1%} accepted at {figures['false_accept_rate']:.1%} false accepts"
    return f"area {figures['roc_area']:.3f}, {rates}"


def roc_picture(title: str, points: Points, figures: Mapping[str, float]) -> Figure:
    """The curve of one task; arguments as of `draw_roc`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    draw_roc(axes, points, figures, said_of(figures), "#1f5fbf")
    finish_roc(axes)
    axes.set_title(title)
    axes.legend(loc="upper left", fontsize=8)
    return figure
