"""Piggyback: task 1 trains the network, every later task learns only which of its weights to use.

W_k = W_1 * (M-hat > threshold), the pick scores M-hat learned through the straight-through gradient (eq. 2 and 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.method_parts import picks_after_the_first
from cpg_core.stages.pruning.prune_rules import NoPruning
from cpg_core.stages.stage_table import STAGES


def all_by_the_first_task(older: Tensor, index: int, grown_from: int) -> Tensor:  # noqa: ARG001
    """Task 1 trains every weight; later tasks none."""
    return ~older if index == 1 else torch.zeros_like(older)


METHOD = Method(
    name="piggyback",
    source="Mallya, Davis and Lazebnik, Piggyback: Adapting a Single Network to Multiple Tasks, ECCV 2018",
    stages=STAGES,
    growth=NoGrowth(),
    pruning=NoPruning(),
    trainable=all_by_the_first_task,
    learns_picks=picks_after_the_first,
)
