"""When a task is good enough."""

from __future__ import annotations

from cpg_core.stages.context import TaskContext


def passes_gate(train_accuracy: float | None, least: float | None) -> bool | None:
    """Whether training accuracy exceeds the least; None where there is no such gate, or nothing was trained."""
    return None if least is None or train_accuracy is None else train_accuracy > least


def meets_goal(context: TaskContext, accuracy: float, gate: bool | None) -> bool:
    """Whether accuracy reaches the goal, less its tolerance, and the gate is passed."""
    return accuracy >= context.required_accuracy and gate is not False
