"""Check: is the goal met?"""

from __future__ import annotations

import time

from cpg_core.model.state import TaskState
from cpg_core.stages.context import Fields, Outcome, TaskContext
from cpg_core.stages.files import read_record
from cpg_core.stages.goal import meets_goal, passes_gate
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import accuracy_of_state
from cpg_core.storage.snapshot import Snapshots


def check(
    context: TaskContext,
    request: Request,
    state: TaskState | None,
    snapshots: Snapshots,  # noqa: ARG001  (as every stage)
) -> Outcome:
    """Compare accuracy with the goal, and training accuracy with its gate."""
    assert state is not None and request.source is not None
    began = time.monotonic()
    trained = read_record(context.run.task_work(context.index), request.source)
    accuracy = accuracy_of_state(context, state)
    gate = passes_gate(trained.train_accuracy, context.settings.check.min_train_accuracy)
    fields: Fields = {"accuracy": accuracy, "train_accuracy": trained.train_accuracy, "gate": gate}
    fields["met"] = meets_goal(context, accuracy, gate)
    return Outcome(fields=fields, seconds=time.monotonic() - began)
