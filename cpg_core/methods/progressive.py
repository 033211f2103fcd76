"""Progressive neural networks: each task adds a column of units that read all earlier columns, which stay as they are.

h_k^(i) = f(W_k^(i) h_k^(i-1) + sum over j < k of U_kj^(i) h_j^(i-1)) (eq. 1, without adapters): in one layer's
weight the rows of column k are trained over all columns of inputs, and no row of an earlier column reads column k.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpg_core.config.settings import Settings
from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import GrowthRule
from cpg_core.stages.method_parts import released_weights
from cpg_core.stages.pruning.prune_rules import NoPruning
from cpg_core.stages.request import Rules
from cpg_core.stages.stage_table import STAGES


class ColumnPerTask(GrowthRule):
    """Every task after the first widens the network by `progressive.column_width`."""

    def may_grow(self, settings: Settings) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def at_start(self, rules: Rules) -> float | None:
        """Channels add up, and weights grow with their square."""
        if rules.index == 1:
            return None
        return (math.sqrt(rules.budget_x) + rules.settings.progressive.column_width) ** 2


def own_column(older: Tensor, index: int, grown_from: int) -> Tensor:
    """What leads into the new units from all units below; what would lead from them to older ones does not exist."""
    if index == 1:
        return released_weights(older, index, grown_from)
    own = torch.zeros_like(older)
    own[grown_from:] = True
    return own


def weights_that_exist(size: int, released: int, index: int) -> tuple[int, int]:  # noqa: ARG001
    """What no column holds leads back from later ones: it is neither allocated nor released."""
    return size - released, 0


METHOD = Method(
    name="progressive",
    source="Rusu et al., Progressive Neural Networks, arXiv:1606.04671, 2016",
    stages=STAGES,
    growth=ColumnPerTask(),
    pruning=NoPruning(),
    trainable=own_column,
    count=weights_that_exist,
)
