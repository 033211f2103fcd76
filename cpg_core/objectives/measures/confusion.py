"""How often each class is taken for each other one, and the scores that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cpg_core.objectives.measures import Measure


def tally_by_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each class, how many images of a batch are right, then how many there are: int64 `[2 * classes]`."""
    classes = torch.arange(logits.shape[1], device=labels.device)
    of_class = labels.view(-1, 1) == classes
    right = (logits.argmax(dim=1) == labels).view(-1, 1)
    return torch.cat([(of_class & right).sum(dim=0), of_class.sum(dim=0)])


def balanced_accuracy(counts: list[int]) -> float:
    """The mean recall over the classes that have images, in [0, 1], from a summed `tally_by_class`."""
    right, seen = counts[: len(counts) // 2], counts[len(counts) // 2 :]
    recalls = [hits / images for hits, images in zip(right, seen, strict=True) if images]
    return sum(recalls) / len(recalls)


@dataclass(frozen=True)
class ConfusionMeasure(Measure):
    """Adds up a matrix: a row a class that images are of, a column a class that they are taken for.

    Attributes:
        classes: how many.
        of_tally: the score of a summed tally, as a list.
        by_class: whether that tally is one by class, as of `tally_by_class`, or of the right ones and all.
    """

    classes: int
    of_tally: Callable[[list[int]], float]
    by_class: bool

    def start(self, device: torch.device) -> Tensor:
        """Zeros, int64 `[classes, classes]`."""
        return torch.zeros(self.classes, self.classes, dtype=torch.int64, device=device)

    def add(self, total: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Count a batch."""
        places = labels * self.classes + outputs.argmax(dim=1)
        total += torch.bincount(places.cpu(), minlength=self.classes**2).view_as(total).to(total.device)

    def score(self, total: Tensor) -> float:
        """As of the objective's tally over the same images, to the bit."""
        right, seen = total.diagonal(), total.sum(dim=1)
        counts = torch.cat([right, seen]) if self.by_class else torch.stack([right.sum(), seen.sum()])
        return self.of_tally(counts.tolist())

    def drawn(self, total: Tensor) -> dict[str, Any]:
        """The matrix, as a text a row."""
        return {"confusion": to_rows(total)}


def to_rows(matrix: Tensor) -> list[str]:
    """An int64 matrix as a text a row, of the columns that are not 0: `0:98 3:2`."""
    return [" ".join(f"{column}:{count}" for column, count in enumerate(row) if count) for row in matrix.tolist()]


def from_rows(rows: list[str]) -> Tensor:
    """The square int64 matrix of `to_rows`."""
    matrix = torch.zeros(len(rows), len(rows), dtype=torch.int64)
    for place, row in enumerate(rows):
        for entry in row.split():
            column, _, count = entry.partition(":")
            matrix[place, int(column)] = int(count)
    return matrix


def recalls(matrix: Tensor) -> list[float | None]:
    """The recall of each class, in [0, 1]; None of one without images."""
    right, seen = matrix.diagonal().tolist(), matrix.sum(dim=1).tolist()
    return [hits / images if images else None for hits, images in zip(right, seen, strict=True)]
