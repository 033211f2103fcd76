"""Who owns each shared weight: 0 = released, k = task k. The one truth from which every mask is derived."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.model.layers import Layers

RELEASED = 0
MOST_TASKS = torch.iinfo(torch.int16).max


def released(owner: Tensor) -> Tensor:
    """Where no task owns the weight: bool, of the same shape."""
    return owner == RELEASED


def owned_before(owner: Tensor, task: int) -> Tensor:
    """Where a task before `task` owns the weight: what a pick mask of `task` is over."""
    return (owner != RELEASED) & (owner < task)


def claim(owner: Tensor, positions: Tensor, task: int) -> Tensor:
    """The owner map with `positions` given to `task`.

    Raises:
        ValueError: a position is owned already, or the task number does not fit 16 bits.
    """
    if not 0 < task <= MOST_TASKS:
        raise ValueError(f"task number {task}: expected 1 to {MOST_TASKS}")
    taken = int((positions & ~released(owner)).sum())
    if taken:
        raise ValueError(f"task {task} claims {taken} weights that an earlier task owns")
    return torch.where(positions, torch.tensor(task, dtype=owner.dtype), owner)


def count(masks: Layers) -> int:
    """How many entries are true over all layers."""
    return sum(int(mask.sum()) for mask in masks.values())


def size(layers: Layers) -> int:
    """How many entries there are over all layers."""
    return sum(layer.numel() for layer in layers.values())
