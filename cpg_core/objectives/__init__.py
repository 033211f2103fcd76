"""Objectives: what a kind of task is, a file each, found by its name. Adding one means adding one file.

An objective file defines `OBJECTIVE`, an `Objective`. The network takes its head from it, the training step its loss,
and the loop and the evaluation its score; none of them knows which kind of task it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from cpg_core.config.suggestions import unknown

DEFAULT = "classification"
"""Of a task that names none."""


@dataclass(frozen=True)
class Objective:
    """What a task's network ends in, what it minimises, and how its success is measured.

    A score over many images is computed from a tally, a tensor that adds up over batches and processes, so that it
    stays on the device until all batches are done.

    Attributes:
        head: `(features, classes)` to the module that ends the network, from `[N, features]` to outputs `[N, ...]`.
        loss: `(outputs, labels [N])` to the mean loss over the batch, no dimensions.
        tally: `(outputs, labels [N])` to what the score needs of a batch, int64 `[tally_size]`; sums over batches.
        tally_size: how many numbers a tally holds.
        score: the summed tally, as a list, to the score in [0, 1].
        higher_is_better: the direction of the score.
    """

    head: Callable[[int, int], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    tally: Callable[[Tensor, Tensor], Tensor]
    tally_size: int
    score: Callable[[list[int]], float]
    higher_is_better: bool = True

    def better(self, one: float, other: float) -> bool:
        """Whether score `one` is better than `other`; an equal one is not."""
        return one > other if self.higher_is_better else one < other


def names() -> list[str]:
    """The objectives there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Objective:
    """The objective of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in names():
        raise unknown("objective", name, names())
    return cast(Objective, importlib.import_module(f"{__name__}.{name}").OBJECTIVE)
