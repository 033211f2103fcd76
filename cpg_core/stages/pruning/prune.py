"""Compact, second half: gradual pruning of the task's own weights (section 3; Zhu and Gupta, 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from cpg_core.data.batches import batch_count
from cpg_core.machine import device_of
from cpg_core.model.ownership import count
from cpg_core.model.state import TaskState
from cpg_core.stages.channels import units_of
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.goal import meets_goal, passes_gate
from cpg_core.stages.importing.imitate import imitating, no_worse_than_pruned
from cpg_core.stages.pruning.channel_release import ReleaseChannels
from cpg_core.stages.pruning.prune_schedule import CubicSchedule, Release
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import plan_of, train_own
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.loop import Plan


def prune(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Release the smallest of the task's own weights, layer by layer, up to the target; the picks stand still."""
    assert state is not None and request.target is not None
    config = context.settings.prune
    batches = batch_count(len(context.data.train), context.settings.batch_size, context.ranks.share.of)
    release = release_of(context, state, request.target, config.prune_epochs * batches, config.every_steps)
    plan = plan_of(context, request, config.epochs, config.lr, config.schedule)
    plan = replace(plan, before_step=release, keep=config.keep, judged_from=config.prune_epochs)
    return train_pruned(context, state, plan, snapshots)


def release_of(
    context: TaskContext, state: TaskState, target: float, steps: int, every: int
) -> Release | ReleaseChannels:
    """From the sparsity of a state to a target, in so many steps: single weights, or whole channels (`prune.unit`)."""
    units = units_of(context, state.budget_x)
    if units is None:
        available = available_weights(context, state.budget_x)
        sparsity = 1 - count(state.own) / max(sum(available.values()), 1)
        return Release(available, CubicSchedule(sparsity, target, steps, every))
    free = {name: ~mask for name, mask in context.older(context.shared(state.budget_x)).items()}
    can_go = units.having(free) & units.removable
    sparsity = 1 - int((units.having(state.own) & can_go).sum()) / max(int(can_go.sum()), 1)
    device = device_of(context.settings.compute.device)
    return ReleaseChannels(units.to(device), can_go.to(device), CubicSchedule(sparsity, target, steps, every))


def train_pruned(context: TaskContext, state: TaskState, plan: Plan, snapshots: Snapshots) -> Outcome:
    """Train by a plan that releases weights; whether the goal is met is judged on what is left."""
    if context.imitates:
        plan = imitating(context, plan)
    outcome = train_own(context, state, plan, snapshots, learns_picks=False)
    if context.imitates and units_of(context, state.budget_x) is None:
        outcome = no_worse_than_pruned(context, state, outcome)
    accuracy, train_accuracy = cast(float, outcome.fields["accuracy"]), outcome.fields["train_accuracy"]
    gate = passes_gate(cast(float | None, train_accuracy), context.settings.prune.min_train_accuracy)
    fields = {**outcome.fields, "met": meets_goal(context, accuracy, gate), "gate": gate}
    return replace(outcome, fields=fields)


def available_weights(context: TaskContext, budget_x: float) -> dict[str, int]:
    """How many weights of each layer no earlier task owns: what the task's sparsity is a share of."""
    older = context.older(context.shared(budget_x))
    return {name: int((~mask).sum()) for name, mask in older.items()}
