"""Gradual pruning of whole channels: as `prune_schedule`, with units of channels in place of weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpg_core.model.channels.units import Units
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, shared_parameters
from cpg_core.stages.pruning.prune_schedule import CubicSchedule, release_count, smallest
from cpg_core.training.optimizer import TaskOptimizer


def squared_norms(units: Units, values: Layers, own: Layers) -> Tensor:
    """Of each unit's own weights over all its layers, float64 `[units]`."""
    squares = {
        name: torch.where(mask, values[name], 0.0).double().square().flatten(1).sum(dim=1) for name, mask in own.items()
    }
    return units.total(squares)


def smallest_units(units: Units, norms: Tensor, held: Tensor, available: Tensor, sparsity: float) -> Tensor:
    """The units to release at a sparsity, so that of `n` available ones of a pool `n` less their share are held.

    The share is rounded down, so below a sparsity of 1 a pool keeps at least one of the units that it holds.

    Args:
        units: of the network.
        norms: `[units]`, of what the task holds of each.
        held: bool `[units]`, of which the task holds weights.
        available: bool `[units]`, of which it may hold weights.
        sparsity: in [0, 1].

    Returns:
        bool `[units]`: the smallest of each pool, ties going to the lower number.
    """
    chosen = torch.zeros_like(held)
    for pool in sorted(set(units.pool[held & available].tolist())):
        inside = units.pool == pool
        free = int((available & inside).sum())
        candidates = held & available & inside
        excess = int(candidates.sum()) - (free - release_count(free, sparsity))
        if excess > 0:
            chosen |= smallest(norms, candidates, excess)
    return chosen


@dataclass(frozen=True)
class ReleaseChannels:
    """As `Release`, of whole units.

    Attributes:
        units: of the network, on its device.
        available: bool `[units]`, those that may be released: removable, with a weight that no earlier task owns.
        schedule: of the sparsity in units.
    """

    units: Units
    available: Tensor
    schedule: CubicSchedule

    def __call__(self, network: Network, optimizer: TaskOptimizer, done: int) -> None:
        """Release what the schedule asks for before the step after `done` others; what is released stays at 0."""
        sparsity = self.schedule.at(done)
        if sparsity is None:
            return
        own = optimizer.trainable()
        values = {name: parameter.detach() for name, parameter in shared_parameters(network).items()}
        norms = squared_norms(self.units, values, own)
        chosen = smallest_units(self.units, norms, self.units.having(own), self.available, sparsity)
        for name, mask in own.items():
            optimizer.set_fixed(name, self.units.weights(name, chosen, mask.dim()) & mask, 0.0)
