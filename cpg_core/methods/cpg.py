"""Compacting, Picking and Growing: prune each task, pick from what earlier ones own, grow when the goal is missed.

Task k computes with W_k = W_{1:k-1} * (M-hat > threshold) + W_k^P, where the pick scores M-hat and the released weights
W_k^P are learned together, and W_k^P is then pruned gradually (section 3, Algorithm 1).
"""

from __future__ import annotations

from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import GrowOnMiss
from cpg_core.stages.method_parts import picks_after_the_first
from cpg_core.stages.pruning.prune_rules import GradualPruning
from cpg_core.stages.retrain import retrain_next
from cpg_core.stages.stage_table import STAGES

METHOD = Method(
    name="cpg",
    source="Hung et al., Compacting, Picking and Growing for Unforgetting Continual Learning, NeurIPS 2019",
    stages=STAGES,
    growth=GrowOnMiss(),
    pruning=GradualPruning(),
    learns_picks=picks_after_the_first,
    after_pruning=retrain_next,
)
