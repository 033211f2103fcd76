"""Packing-and-expanding: as CPG without picks; each task uses all weights of earlier tasks, W_k = W_{1:k-1} + W_k^P."""

from __future__ import annotations

from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import GrowOnMiss
from cpg_core.stages.pruning.prune_rules import GradualPruning
from cpg_core.stages.stage_table import STAGES

METHOD = Method(
    name="pae",
    source="Hung et al., Increasingly Packing Multiple Facial-Informatics Modules, ICMR 2019",
    stages=STAGES,
    growth=GrowOnMiss(),
    pruning=GradualPruning(),
)
