"""Who owns what once a task is forgotten: what later tasks use goes to the first of them, the rest is released."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.ownership import RELEASED, owned_before
from cpg_core.storage.delta import Delta


@dataclass(frozen=True)
class Handover:
    """What becomes of the weights of a forgotten task.

    Attributes:
        owner: of each weight once it is forgotten; the numbers of later tasks are one less.
        own: how many weights it owned.
        heirs: how many of them each later task gets, by its number before.
    """

    owner: Layers
    own: int
    heirs: dict[int, int]

    @property
    def freed(self) -> int:
        """How many of its weights no later task uses."""
        return self.own - sum(self.heirs.values())


def handed_over(owner: Layers, forgotten: int, later: Iterable[tuple[int, Delta]]) -> Handover:
    """What becomes of the weights of task `forgotten`.

    Args:
        owner: of each weight after all tasks.
        forgotten: the number of the task.
        later: the numbers and deltas of the tasks after it, in order.
    """
    heir = {name: torch.zeros_like(layer) for name, layer in owner.items()}
    for index, delta in later:
        for name, shape in delta.shapes.items():
            inner, taken = leading_block(owner[name], shape), leading_block(heir[name], shape)
            picked = delta.picked(name, owned_before(inner, index))
            taken[picked & (inner == forgotten) & (taken == RELEASED)] = index
    counts: Counter[int] = Counter()
    for layer in heir.values():
        counts.update(layer[layer != RELEASED].tolist())
    own = sum(int((layer == forgotten).sum()) for layer in owner.values())
    after = {name: _without(layer, forgotten, heir[name]) for name, layer in owner.items()}
    return Handover(after, own, dict(sorted(counts.items())))


def _without(owner: Tensor, forgotten: int, heir: Tensor) -> Tensor:
    handed = torch.where(owner == forgotten, heir, owner)
    return torch.where(handed > forgotten, handed - 1, handed)
