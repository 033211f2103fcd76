"""Independent models, each fine-tuned from the model of an earlier task: a random one, or the first."""

from __future__ import annotations

from cpg_core.config.task_settings import task_settings
from cpg_core.methods.scratch import weights_of_a_network_each
from cpg_core.model.state import TaskState
from cpg_core.seeds import derive
from cpg_core.stages.context import Method, Outcome, TaskContext
from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.method_parts import fresh_for_the_first
from cpg_core.stages.pick_train import pick_train, pick_train_at
from cpg_core.stages.pruning.prune_rules import NoPruning
from cpg_core.stages.request import Request
from cpg_core.stages.stage_table import STAGES
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.snapshot import Snapshots


def earlier_task(spec: RunSpec, index: int) -> int | None:
    """Drawn by the run's seed and the task's name; or the first, as where that is a pretrained network."""
    task = spec.tasks[index - 1]
    if task_settings(spec.settings, task.settings, f"settings of task '{task.name}'").finetune.init_from == "first":
        return 1
    return 1 + derive(spec.seed, "earlier", spec.tasks[index - 1].name) % (index - 1)


def fine_tune(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Task 1 as every method; later ones at `finetune.lr`."""
    if context.index == 1:
        return pick_train(context, request, state, snapshots)
    return pick_train_at(context.settings.finetune.lr, context, request, state, snapshots)


METHOD = Method(
    name="finetune",
    source="independent models, each begun from that of an earlier task (`finetune.init_from`)",
    stages={**STAGES, "pick_train": fine_tune},
    growth=NoGrowth(),
    pruning=NoPruning(),
    independent=True,
    init_from=earlier_task,
    fresh_init=fresh_for_the_first,
    count=weights_of_a_network_each,
)
