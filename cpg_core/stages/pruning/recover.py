"""Recovery of the chosen sparsity alone: the search over sparsities stays short, and its winner trains on."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.importing.imitate import imitating
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import accuracy_of_state, plan_of, train_own
from cpg_core.storage.snapshot import Snapshots


def recover(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Train what the compact model holds on, its picks as they are; kept only if it is no worse."""
    assert state is not None
    config = context.settings.prune
    before = accuracy_of_state(context, state)
    plan = plan_of(context, request, config.recover_epochs, config.lr, config.schedule)
    if context.imitates:
        plan = imitating(context, plan)
    outcome = train_own(context, state, plan, snapshots, learns_picks=False)
    after = cast(float, outcome.fields["accuracy"])
    return replace(outcome, fields={**outcome.fields, "kept": after >= before})
