"""PackNet: one cut of each task's weights by magnitude, then recovery; later tasks train what was released.

The smallest `one_shot.sparsity` of each layer's available weights are set to 0 at once (section 3 of the paper), and
the rest is trained on. The network never grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cpg_core.config.settings import Settings
from cpg_core.model.state import TaskState
from cpg_core.stages import method_parts
from cpg_core.stages.context import Method, Outcome, TaskContext
from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.pruning.prune import release_of, train_pruned
from cpg_core.stages.pruning.prune_rules import GradualPruning
from cpg_core.stages.request import Request, Rules
from cpg_core.stages.stage_table import STAGES
from cpg_core.stages.train_state import plan_of
from cpg_core.storage.records import StageName, StageRecord
from cpg_core.storage.snapshot import Snapshots


class OneShotPruning(GradualPruning):
    """Once, by a fixed share, whatever the goal."""

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:  # noqa: ARG002
        """`one_shot.sparsity`, once."""
        return None if pruned else rules.settings.one_shot.sparsity

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> int:  # noqa: ARG002
        """What the cut left."""
        return pruned[-1].number

    def recovers(self, check: StageRecord, chosen: int, rules: Rules) -> bool:  # noqa: ARG002
        """The cut itself is followed by its recovery."""
        return False

    def settings_for(self, share: float | None, lr: float) -> dict[str, Any] | None:
        """`one_shot.sparsity`; every task is pruned."""
        return None if share is None else {"one_shot": {"sparsity": share, "lr": lr}}


def prune_once(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Cut before the first step, then train what is left."""
    assert state is not None and request.target is not None
    config = context.settings.one_shot
    release = release_of(context, state, request.target, steps=1, every=1)
    plan = plan_of(context, request, config.epochs, config.lr, config.schedule)
    return train_pruned(context, state, replace(plan, before_step=release), snapshots)


def most_epochs(stage: StageName, settings: Settings) -> int:
    """Those of `one_shot` where it is pruned."""
    return settings.one_shot.epochs if stage == "prune" else method_parts.most_epochs(stage, settings)


METHOD = Method(
    name="packnet",
    source="Mallya and Lazebnik, PackNet: Adding Multiple Tasks to a Single Network, CVPR 2018",
    stages={**STAGES, "prune": prune_once},
    growth=NoGrowth(),
    pruning=OneShotPruning(),
    epochs=most_epochs,
)
