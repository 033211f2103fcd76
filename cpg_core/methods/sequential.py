"""One network, trained on in place by each task in turn: the common baseline, which forgets."""

from __future__ import annotations

from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.method_parts import every_weight, fresh_for_the_first
from cpg_core.stages.pruning.prune_rules import NoPruning
from cpg_core.stages.stage_table import STAGES

METHOD = Method(
    name="sequential",
    source="the common baseline: one network, trained on in place; it forgets",
    stages=STAGES,
    growth=NoGrowth(),
    pruning=NoPruning(),
    overwrites=True,
    trainable=every_weight,
    fresh_init=fresh_for_the_first,
)
