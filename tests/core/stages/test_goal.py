"""What is equal: an accuracy at the goal meets it, one at the gate does not pass, and a recovery to it is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.goal import meets_goal, passes_gate
from cpg_core.stages.pruning import recover as module
from cpg_core.stages.pruning.recover import recover
from cpg_core.stages.request import Request
from cpg_core.storage.snapshot import Snapshots


@pytest.mark.parametrize(
    ("train_accuracy", "least", "passes"),
    [(0.75, 0.5, True), (0.5, 0.5, False), (0.25, 0.5, False), (1.0, 1.0, False), (None, 0.5, None), (0.5, None, None)],
)
def test_training_accuracy_must_exceed_the_gate(
    train_accuracy: float | None, least: float | None, passes: bool | None
) -> None:
    assert passes_gate(train_accuracy, least) is passes


@pytest.mark.parametrize(
    ("accuracy", "gate", "meets"),
    [(0.5, None, True), (0.5, True, True), (0.5, False, False), (0.499, None, False), (0.499, True, False)],
)
def test_accuracy_at_the_goal_meets_it_unless_the_gate_fails(accuracy: float, gate: bool | None, meets: bool) -> None:
    context = SimpleNamespace(required_accuracy=0.5)
    assert meets_goal(cast(TaskContext, context), accuracy, gate) is meets


@pytest.mark.parametrize(("after", "kept"), [(0.51, True), (0.5, True), (0.49, False)])
def test_a_recovery_is_kept_if_it_is_no_worse(monkeypatch: pytest.MonkeyPatch, after: float, kept: bool) -> None:
    prune = SimpleNamespace(recover_epochs=1, lr=0.1, schedule=None)
    context = cast(TaskContext, SimpleNamespace(settings=SimpleNamespace(prune=prune), imitates=False))
    monkeypatch.setattr(module, "accuracy_of_state", lambda *_: 0.5)
    monkeypatch.setattr(module, "plan_of", lambda *_: None)
    monkeypatch.setattr(module, "train_own", lambda *_, **__: Outcome(fields={"accuracy": after}))
    found = recover(context, Request("recover", 5, 4, 1.0), TaskState(1.0, {}, {}, {}, {}), cast(Snapshots, None))
    assert found.fields == {"accuracy": after, "kept": kept}
