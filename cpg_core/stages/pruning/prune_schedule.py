"""Gradual pruning in four separate steps: schedule, count, score, choice (Zhu and Gupta, 2018; section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cpg_core.model.network import Network, shared_parameters
from cpg_core.training.optimizer import TaskOptimizer


def cubic(start: float, end: float, done: float) -> float:
    """Sparsity when the fraction `done` of the pruning steps is over: end + (start - end)(1 - done)^3."""
    return end + (start - end) * (1 - done) ** 3


@dataclass(frozen=True)
class CubicSchedule:
    """When a prune releases, and how much.

    Attributes:
        start: sparsity at the beginning; `target`: sparsity from the last of `steps` steps on.
        every: steps between two releases.
    """

    start: float
    target: float
    steps: int
    every: int

    def at(self, done: int) -> float | None:
        """What is asked for after `done` of the steps; None where nothing is released."""
        last = self.steps - 1
        if done > last or (done % self.every and done != last):
            return None
        return cubic(self.start, self.target, done / last if last else 1.0)


def release_count(available: int, sparsity: float) -> int:
    """How many of a layer's `available` weights are released at a sparsity: rounded down, exact at 0 and 1."""
    return math.floor(available * sparsity + 1e-9)


def smallest(value: Tensor, own: Tensor, count: int) -> Tensor:
    """Where the `count` smallest of the owned values by magnitude lie; ties go to the lower index.

    Args:
        value: a layer's values, any shape.
        own: bool, the same shape: only these may be chosen.
        count: how many; must not exceed the owned ones.

    Returns:
        bool, the same shape, true at exactly `count` places.
    """
    chosen = torch.zeros_like(own, memory_format=torch.contiguous_format)
    if count == 0:
        return chosen
    own = own.contiguous()
    magnitude = value.contiguous()[own].abs()
    if not 0 < count <= magnitude.numel():
        raise ValueError(f"cannot release {count} of {magnitude.numel()} owned weights")
    # On a GPU kthvalue has one block of threads go over all values; sorting them has all blocks.
    edge = magnitude.sort().values[count - 1] if magnitude.is_cuda else magnitude.kthvalue(count).values
    take = magnitude < edge
    ties = (magnitude == edge).nonzero().flatten()
    take[ties[: count - int(take.sum())]] = True
    return chosen.masked_scatter_(own, take)


def floor_sparsity(tasks_left: int, *, rounded: bool = False) -> float:
    """The least sparsity that leaves later tasks an equal share of room: 1 - 1/(tasks left + 1).

    Args:
        tasks_left: how many tasks come after this one.
        rounded: the share rounded to 0.1 as Python's `round` does, as published: 0.9 from 6 tasks left on, 1 from 20.
    """
    share = 1 / (tasks_left + 1)
    return round(1 - round(share, 1), 1) if rounded else 1 - share


@dataclass(frozen=True)
class Release:
    """Takes weights out of training along the cubic schedule; called before each step.

    Attributes:
        available: weights per layer that the task may hold: the base of its sparsity.
        schedule: of that sparsity.
    """

    available: dict[str, int]
    schedule: CubicSchedule

    def __call__(self, network: Network, optimizer: TaskOptimizer, done: int) -> None:
        """Release what the schedule asks for before the step after `done` others; pruned weights stay at 0."""
        sparsity = self.schedule.at(done)
        if sparsity is None:
            return
        trainable = optimizer.trainable()
        for name, parameter in shared_parameters(network).items():
            own = trainable[name]
            most = self.available[name] - release_count(self.available[name], sparsity)
            excess = int(own.sum()) - most
            if excess > 0:
                optimizer.set_fixed(name, smallest(parameter.detach(), own, excess), 0.0)
