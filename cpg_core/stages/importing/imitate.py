"""How a pretrained network is pruned without the data that it was trained on: what is kept imitates it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch

from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.files import read_state, stage_folder
from cpg_core.stages.pruning.prune_schedule import smallest
from cpg_core.stages.train_state import accuracy_of_state, network_of_state
from cpg_core.training.imitation import Teacher
from cpg_core.training.loop import Plan

TEMPERATURE = 2.0
IMPORTED = 1
"""The number of the stage that imports a network."""


def imitating(context: TaskContext, plan: Plan) -> Plan:
    """A plan that learns from the imported network, and leaves the network at the epoch that agrees with it best."""
    folder = stage_folder(context.run.task_work(context.index), IMPORTED)
    state = read_state(folder, context.run.shapes(context.before.budget_x))
    return replace(plan, teacher=Teacher(network_of_state(context, state).eval(), TEMPERATURE), keep="best")


def no_worse_than_pruned(context: TaskContext, begun: TaskState, outcome: Outcome) -> Outcome:
    """What a prune of single weights left, or, where it agrees less, the same share taken at once and nothing trained.

    Args:
        context: the task.
        begun: the state that the prune began from.
        outcome: of the prune.
    """
    assert outcome.state is not None
    own = {}
    for name, mask in begun.own.items():
        gone = int(mask.sum()) - int(outcome.state.own[name].sum())
        own[name] = mask & ~smallest(begun.value[name], mask, gone)
    value = {name: torch.where(own[name], weight, 0.0) for name, weight in begun.value.items()}
    untrained = replace(begun, own=own, value=value)
    accuracy = accuracy_of_state(context, untrained)
    if accuracy <= cast(float, outcome.fields["accuracy"]):
        return outcome
    return replace(outcome, state=untrained, fields={**outcome.fields, "accuracy": accuracy, "train_accuracy": None})
