"""Learning without forgetting: what earlier tasks answer on the new images is distilled into the network.

The loss of a task gains, for each task before it, the cross entropy between what that task answered on these images
before the new task began and what it answers now, both softened by a temperature (eq. 2 and 3).
"""

from __future__ import annotations

from dataclasses import replace

from cpg_core.methods import sequential
from cpg_core.model.state import TaskState
from cpg_core.seeds import derive
from cpg_core.stages.context import TaskContext
from cpg_core.stages.train_state import network_of_state
from cpg_core.training.penalties.lwf import distillation_loss
from cpg_core.training.step import Penalty


def penalty(context: TaskContext, state: TaskState) -> Penalty:
    """The penalty that a task learns with, from its network before it learns."""
    config, run = context.settings.lwf, context.run
    heads = [run.delta(index).private for index in range(1, context.index)]
    seed = derive(run.spec.seed, "lwf", context.name)
    return distillation_loss(network_of_state(context, state), heads, config.strength, config.temperature, seed)


METHOD = replace(
    sequential.METHOD,
    name="lwf",
    source="Li and Hoiem, Learning without Forgetting, ECCV 2016",
    penalty=penalty,
    classes_only=True,
    steps_alike=False,
)
