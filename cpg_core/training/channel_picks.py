"""Picks of whole channels: one score a unit, whose older weights are used all or not at all.

The effective weight is M W with one M = [score > threshold] for all older weights W of a unit, so the straight-through
gradient of its score is the sum of dL/d(effective weight) W over them.

Batch norm undoes the scale of a filter, so behind it that sum is 0 where all of a filter is older. What leaving such a
unit out takes away is its output, as a dead channel has no shift: of y = gamma x + beta with M as a gate behind it the
gradient is sum of dL/dy y = gamma dL/dgamma + beta dL/dbeta (the gate of Molchanov et al., 2019), and so with a bias.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cpg_core.model.channels.units import Units
from cpg_core.model.layers import Layers
from cpg_core.training.score_rules import ScoreRule


class ChannelPicks:
    """The scores of the units of a network, all tensors `[units]`.

    Args:
        units: of the network, on its device.
        rule: how a score moves.
        own: by shared layer, the weights that are trained: bool.
        older: by shared layer, the weights that are used or not: bool.
    """

    def __init__(self, units: Units, rule: ScoreRule, own: Layers, older: Layers) -> None:
        self._units, self._rule = units, rule
        self._own, self._older = units.having(own), units.having(older)
        self._positions = older
        self.score = torch.full(units.pool.shape, rule.init, device=units.pool.device)
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(self.score), torch.zeros_like(self.score)

    def gradient(self, values: Layers, grads: Layers, affine: Layers) -> Tensor:
        """The straight-through gradient of each score.

        Args:
            values: by shared layer, of the older weights.
            grads: of the effective weights.
            affine: by private tensor of `Units.affine`, each entry times its gradient.
        """
        each = {
            name: torch.where(self._positions[name], grad * values[name], 0.0).flatten(1).sum(dim=1)
            for name, grad in grads.items()
        }
        of_outputs = torch.zeros_like(self.score)
        for name, units in self._units.affine.items():
            of_outputs.index_add_(0, units, affine[name])
        return self._units.total(each) + of_outputs.masked_fill(self._own, 0.0)

    @property
    def affine(self) -> Iterable[str]:
        """Names of the private tensors that `gradient` needs."""
        return self._units.affine

    def move(self, gradient: Tensor, hyper: Tensor) -> Tensor:
        """Move the scores, and tell which units are picked, bool `[units]`.

        Args:
            gradient: of the scores.
            hyper: the numbers of the rule, and the threshold.
        """
        new = self._rule.move(self.score, gradient, self.exp_avg, self.exp_avg_sq, hyper[:-1])
        for buffer, moved in zip((self.score, self.exp_avg, self.exp_avg_sq), new, strict=True):
            buffer.copy_(moved)
        return picked_units(self.score > hyper[-1], self.score, self._older, self._own, self._units)

    def leave_out(self, parameters: Layers, picked: Tensor) -> None:
        """Set the older weights of units that are not picked to 0, in place."""
        for name, value in parameters.items():
            value.masked_fill_(self._units.weights(name, ~picked, value.dim()) & self._positions[name], 0.0)

    def tensors(self) -> Layers:
        """What a later `load` needs."""
        return {"score": self.score, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def load(self, tensors: Layers) -> None:
        """Go on from what `tensors` gave."""
        for name, buffer in self.tensors().items():
            buffer.copy_(tensors[name])


def picked_units(wanted: Tensor, score: Tensor, older: Tensor, own: Tensor, units: Units) -> Tensor:
    """Which units are picked: those that are wanted, those that cannot be left out, and at least one that lives.

    In a pool of layers where no unit would live, those of the highest score are picked, so that the network still
    depends on its image.

    Args:
        wanted: bool `[units]`, as are `older`, which have weights of earlier tasks, and `own`, which have others.
        score: of each unit.
        units: of the network.
    """
    picked = wanted | ~units.removable
    pool, lives = units.pool, own | (picked & older)
    living = torch.zeros_like(pool).index_add_(0, pool, lives.long()) > 0
    candidates = torch.where(older, score, -torch.inf)
    best = torch.full_like(score, -torch.inf).scatter_reduce_(0, pool, candidates, "amax")
    return picked | (older & ~living[pool] & (candidates == best[pool]))
