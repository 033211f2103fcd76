"""How a task tells its classes apart: the recall of each as a table, the confusions as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from cpg_core.objectives.measures.confusion import recalls
from cpg_core.recall.metrics import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 60
"""Of more classes each second, third and so on has its name beside the picture, in which all are drawn."""
NUMBERED = 20
"""Of more classes the cells have no numbers."""
LONGEST = 24
"""Characters of a name beside the picture."""


def recall_table(classes: Sequence[str], confusion: Tensor) -> pd.DataFrame:
    """A row a class: its images, its recall in percent, and what it is taken for most often instead."""
    wrong = confusion.clone()
    wrong.fill_diagonal_(0)
    rows = []
    for name, recall, images, others in zip(classes, recalls(confusion), confusion.sum(dim=1), wrong, strict=True):
        most, other = others.max(dim=0)
        rows.append(
            {
                "class": name,
                "images": int(images),
                "recall %": None if recall is None else percent(recall),
                "taken for": classes[int(other)] if most else "",
                "times": int(most),
            }
        )
    return pd.DataFrame(rows)


def confusion_picture(title: str, classes: Sequence[str], confusion: Tensor) -> Figure:
    """The share of each class's images that is taken for each class: a row a class, darker for more.

    It grows with the number of classes, so that each stays two pixels or more wide, up to 14 inches.
    """
    from matplotlib.figure import Figure

    count = len(classes)
    shares = (confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    side = min(14.0, max(4.0, 2.5 + 0.18 * count))
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    step = -(-count // NAMED)
    places = range(0, count, step)
    names = [
        classes[place] if len(classes[place]) <= LONGEST else classes[place][: LONGEST - 1] + "…" for place in places
    ]
    names = [name.replace("$", r"\$") for name in names]
    size = 8 if count <= NUMBERED else 6
    axes.set_xticks(list(places), names, rotation=90, fontsize=size)
    axes.set_yticks(list(places), names, fontsize=size)
    axes.set(title=title, xlabel="taken for", ylabel="class")
    if count <= NUMBERED:
        for row, column in confusion.nonzero().tolist():
            dark = shares[row, column] > 0.5
            number = int(confusion[row, column])
            axes.text(
                column, row, str(number), ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class")
    return figure
