"""What the stages of a task share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cpg_core.methods import find
from cpg_core.stages import context as module
from cpg_core.stages.context import TaskContext
from cpg_core.stages.open_task import open_task
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent


def test_it_is_widened_once_a_budget(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    widened, made = module.widened, []
    monkeypatch.setattr(module, "widened", lambda *args: made.append(args[1]) or widened(*args))
    context = open_task(new_run(), find("cpg"), 1, Silent())
    assert context.shared(1.0) is context.before
    assert context.shared(2.0) is context.shared(2.0) is context.starting(2.0)
    assert context.shared(3.0).budget_x == 3.0
    assert made == [2.0, 3.0]


def test_a_stage_depends_on_how_its_task_is_learned(new_run: Callable[..., Run]) -> None:
    def key(**how: object) -> str:
        run = new_run(tasks="1")
        task = run.spec.tasks[0].model_validate({**run.spec.tasks[0].model_dump(), **how})
        changed = Run(run.root, run.spec.model_copy(update={"tasks": (task,)}))
        return open_task(changed, find(run.spec.method), 1, Silent()).key

    ways = ({"sampling": "balanced"}, {"augment": {"flip": True}}, {"loss": {"kind": "weighted_cross_entropy"}})
    folds = ({"validation": {"fold": {"of": 5, "index": index}}} for index in (1, 2))
    keys = [key(), *(key(**way) for way in (*ways, *folds))]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_a_weight_file_is_what_is_in_it_wherever_it_lies(new_run: Callable[..., Run]) -> None:
    def key(place: str, digest: str) -> str:
        run = new_run(tasks="1")
        backbone = run.spec.backbone.model_copy(update={"weights": place, "weights_sha256": digest})
        moved = Run(run.root, run.spec.model_copy(update={"backbone": backbone}))
        return open_task(moved, find(run.spec.method), 1, Silent()).key

    assert key("/here/w.pth", "1" * 64) == key("/there/w.pth", "1" * 64)
    assert key("/here/w.pth", "1" * 64) != key("/here/w.pth", "2" * 64)
    assert key("IMAGENET1K_V1", "1" * 64) != key("IMAGENET1K_V2", "1" * 64)


def test_how_much_is_kept_decoded_changes_no_stage(new_run: Callable[..., Run]) -> None:
    def key(*overrides: str) -> str:
        run = new_run(tasks="1", overrides=overrides)
        return open_task(run, find(run.spec.method), 1, Silent()).key

    assert key() == key("compute.cache_bytes=0")
    assert key() != key("compute.threads=2")


def of_spec(context: TaskContext, **changed: object) -> TaskContext:
    return replace(context, run=Run(context.run.root, context.run.spec.model_copy(update=changed)))


OTHERWISE: dict[str, Callable[[TaskContext, pytest.MonkeyPatch], TaskContext]] = {
    "torch": lambda context, patch: patch.setattr(torch, "__version__", "1.0") or replace(context),
    "seed": lambda context, _: of_spec(context, seed=2),
    "goal": lambda context, _: of_spec(context, goals={**context.run.spec.goals, "zero-one": 0.7}),
    "parent": lambda context, _: replace(context, parent="0" * 64),
    "number of tasks": lambda context, _: of_spec(context, tasks=context.run.spec.tasks[:1]),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_a_stage_depends_on(what: str, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    context = open_task(new_run(tasks="1-2"), find("cpg"), 1, Silent())
    assert replace(context).key == context.key
    assert OTHERWISE[what](context, monkeypatch).key != context.key
