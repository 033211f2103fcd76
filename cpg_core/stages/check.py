"""Check: is the goal met?"""

from __future__ import annotations

import time

from cpg_core.model.state import TaskState
from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_record
from cpg_core.stages.next_stage import Request
from cpg_core.stages.stage import Fields, Outcome, Place
from cpg_core.stages.train_state import accuracy_of_state


def check(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Compare accuracy with the goal, and training accuracy with its gate."""
    assert state is not None and request.source is not None
    began = time.monotonic()
    trained = read_record(place.folder.parent, request.source)
    accuracy = accuracy_of_state(context, state)
    gate = passes_gate(trained.epochs[-1].train_accuracy, context.settings.check.min_train_accuracy)
    fields: Fields = {"accuracy": accuracy, "train_accuracy": trained.train_accuracy, "gate": gate}
    fields["met"] = meets_goal(context, accuracy, gate)
    return Outcome(fields=fields, seconds=time.monotonic() - began)


def passes_gate(train_accuracy: float, least: float | None) -> bool | None:
    """Whether training accuracy exceeds the least; None where there is no such gate."""
    return None if least is None else train_accuracy > least


def meets_goal(context: TaskContext, accuracy: float, gate: bool | None) -> bool:
    """Whether accuracy reaches the goal, less its tolerance, and the gate is passed."""
    return accuracy >= context.goal - context.settings.check.tolerance and gate is not False
