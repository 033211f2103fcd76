"""Independent models, one a task, each from fresh weights: what a task reaches alone. K tasks cost K networks."""

from __future__ import annotations

from cpg_core.stages.context import Method
from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.pruning.prune_rules import NoPruning
from cpg_core.stages.stage_table import STAGES
from cpg_core.storage.run_spec import RunSpec


def nothing_before(spec: RunSpec, index: int) -> int | None:  # noqa: ARG001
    """No task starts from another."""
    return None


def always_fresh(index: int, released_init: str) -> bool:  # noqa: ARG001
    """Every task starts from fresh weights."""
    return True


def weights_of_a_network_each(size: int, released: int, index: int) -> tuple[int, int]:
    """As many networks as tasks."""
    return size * index, released


METHOD = Method(
    name="scratch",
    source="independent models, one a task",
    stages=STAGES,
    growth=NoGrowth(),
    pruning=NoPruning(),
    independent=True,
    init_from=nothing_before,
    fresh_init=always_fresh,
    count=weights_of_a_network_each,
)
