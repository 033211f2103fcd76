"""Grow: widen the network and begin the task anew."""

from __future__ import annotations

import time

from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.initial_state import first_state
from cpg_core.stages.request import Request
from cpg_core.storage.snapshot import Snapshots


def grow(
    context: TaskContext,
    request: Request,
    state: TaskState | None,  # noqa: ARG001  (as every stage)
    snapshots: Snapshots,  # noqa: ARG001
) -> Outcome:
    """Widen every layer to the new budget; new weights, or all released ones, start fresh, and the picks anew."""
    began = time.monotonic()
    released_init = "random" if context.settings.grow.new_weights == "all" else "border"
    return Outcome(first_state(context, request.budget_x, released_init), seconds=time.monotonic() - began)
