"""Compact, first half: learn the picks and the released weights together (section 3; Algorithm 1)."""

from __future__ import annotations

from dataclasses import replace

from cpg_core.config.picks import RandomPicks, learns
from cpg_core.model.ownership import count
from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.initial_state import first_state
from cpg_core.stages.random_picks import random_picks
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import plan_of, train_own
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.step import no_penalty


def pick_train(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Train from the state that a growth left, or from the task's first one."""
    return pick_train_at(context.settings.pick_train.lr, context, request, state, snapshots)


def pick_train_at(
    lr: float, context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots
) -> Outcome:
    """The same at another learning rate of the weights."""
    config, method = context.settings.pick_train, context.method
    state = state or first_state(context, request.budget_x, context.settings.released_init)
    picks_some = method.learns_picks(context.index)
    learns_picks = picks_some and learns(config.picks)
    if picks_some and isinstance(config.picks, RandomPicks):
        state = replace(state, pick=random_picks(context, state, config.picks))
    plan = replace(
        plan_of(context, request, config.epochs, lr, config.schedule),
        keep=config.keep,
        score_lr=config.score_lr,
        score_schedule=config.score_schedule,
        freeze_picks_epoch=config.score_freeze_epoch if learns_picks and count(state.own) else None,
        penalty=method.penalty(context, state) if context.index > 1 else no_penalty,
    )
    return train_own(context, state, plan, snapshots, learns_picks=learns_picks)
