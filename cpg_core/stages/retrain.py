"""Retrain: learn the picks again beside the compact model (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from cpg_core.config.picks import learns
from cpg_core.config.schedules import STEADY
from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.request import Request, Rules
from cpg_core.stages.train_state import accuracy_of_state, plan_of, train_own
from cpg_core.storage.records import StageRecord
from cpg_core.storage.snapshot import Snapshots


def retrain(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Learn the picks again from the start, beside the compact model's own weights; kept only if better.

    Better than the compact model, or, with `retrain.compare: reset`, than that model once it uses every older weight.
    """
    assert state is not None
    config = context.settings.retrain
    all_picked = replace(state, pick=context.older(context.shared(state.budget_x)))
    before = accuracy_of_state(context, state if config.compare == "compact" else all_picked)
    plan = plan_of(context, request, config.epochs, config.lr, STEADY)
    plan = replace(plan, score_lr=config.score_lr, patience=config.patience)
    outcome = train_own(context, all_picked, plan, snapshots, learns_picks=True)
    after = cast(float, outcome.fields["accuracy"])
    return replace(outcome, fields={**outcome.fields, "kept": after > before})


def retrain_next(done: Sequence[StageRecord], chosen: int, rules: Rules) -> Request | None:
    """A retrain before the freeze, where there are picks to learn and the settings give it epochs."""
    if rules.index == 1 or rules.settings.retrain.epochs == 0 or not learns(rules.settings.pick_train.picks):
        return None
    return Request("retrain", len(done) + 1, chosen, done[-1].budget_x)
