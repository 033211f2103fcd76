"""A task with settings of its own learns by them, and they are in the keys of its own stages alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core import tiny
from cpg_core import runner
from cpg_core.methods import find
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.stages.open_task import open_task
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend, open_run
from cpg_core.training.reporter import Silent

OWN: dict[str, Any] = {
    "pick_train": {"lr": 0.02, "epochs": 4},
    "prune": {"share": 0.3},
    "check": {"tolerance": 0.1},
    "batch_size": 16,
}


def given(run: Run, **fields: Any) -> Run:  # noqa: ANN401
    """The run with these fields of its last task."""
    *others, last = run.spec.tasks
    tasks = (*others, last.model_copy(update=fields))
    return replace(run, spec=run.spec.model_copy(update={"tasks": tasks}))


def key(run: Run, index: int) -> str:
    return open_task(run, find(run.spec.method), index, Silent()).key


def test_a_run_learns_by_them_and_its_file_says_so(new_run: Callable[..., Run]) -> None:
    run = given(new_run(tasks="1-2"), settings=OWN)
    learn_sequence(run, Silent())
    first, second = open_run(run.root, run.spec.name).records()
    stages = {
        record.name: [stage for stage in record.stages if stage.stage == "pick_train"] for record in (first, second)
    }
    assert [len(stages[name][0].epochs) for name in stages] == [3, 4]
    assert stages[second.name][0].epochs[0].lr == pytest.approx(0.02, rel=0.01)
    assert [stage.target for stage in first.stages if stage.stage == "prune"] == [0.5, 0.8]
    assert [stage.target for stage in second.stages if stage.stage == "prune"] == [0.3]
    assert second.sparsity == pytest.approx(0.3, abs=0.01)
    assert all(finding.ok for finding in audit(open_run(run.root, run.spec.name)))
    assert open_run(run.root, run.spec.name).required_accuracy(second.name) == pytest.approx(
        second.goal - 0.1, abs=2e-6
    )


def test_a_unit_that_a_later_task_prunes_is_looked_at_before_anything_is_learned(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = given(new_run(tasks="1-2"), settings={"prune": {"unit": "channel"}})
    units: list[str] = []
    monkeypatch.setattr(runner, "require_fit", lambda _method, _backbone, settings: units.append(settings.prune.unit))
    learn_sequence(run, Silent())
    assert units == ["weight", "channel"]


def test_a_share_that_misses_the_goal_is_kept_and_told_as_missed(new_run: Callable[..., Run]) -> None:
    made = given(new_run(tasks="1", goal=1.0), settings={"prune": {"share": 0.97}, "check": {"tolerance": 0.0}})
    learn_sequence(made, Silent())
    record = made.record(1)
    assert not record.goal_met
    assert record.sparsity == pytest.approx(0.97, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": OWN},
        {"metric": "balanced_accuracy"},
        {"augment": tiny.spec().tasks[0].augment.model_copy(update={"resize": "squash"})},
    ],
    ids=["settings", "metric", "resize"],
)
def test_only_the_task_that_differs_has_another_key(new_run: Callable[..., Run], change: dict[str, Any]) -> None:
    plain = new_run(tasks="1")
    assert key(given(plain, **change), 1) != key(plain, 1)
    longer = new_run(tasks="1-2")
    assert key(given(longer, **change), 1) == key(longer, 1)


def test_a_task_that_is_added_may_have_them(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = tiny.frozen_bytes(run)
    third = tiny.spec(tasks="3").tasks[0].model_copy(update={"settings": {"pick_train": {"epochs": 1}}})
    longer = extend(run, third, 0.6)
    learn_sequence(longer, Silent())
    after = tiny.frozen_bytes(longer)
    assert {name: after[name] for name in before if name != "run.json"} == {
        name: content for name, content in before.items() if name != "run.json"
    }
    assert len(longer.record(3).stages[0].epochs) == 1
