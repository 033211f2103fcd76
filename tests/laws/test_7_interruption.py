"""Law 7: stopped anywhere and started again, a run ends in the same bytes as one that was never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from core.tiny import DEEP, FORGETTING, GROWS, KEEPING, OPTIMIZERS, begun, frozen_bytes, learn, learners, spec

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent
from laws.stopping import EPOCH, TWO_TASKS, attempt, attempts, newest

CASES = [
    pytest.param(method, optimizer, marks=pytest.mark.xdist_group(f"interruption, {optimizer}, {place % 2}"))
    for place, (method, optimizer) in enumerate(learners([*KEEPING, *FORGETTING]))
]
"""Together they are the longest path of the suite: the groups go to whichever worker is free."""


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_stopped_every_few_batches(
    learned: Callable[..., Run], new_run: Callable[..., Run], method: str, optimizer: str
) -> None:
    how = {"method": method, "overrides": OPTIMIZERS[optimizer], **TWO_TASKS}
    run = new_run(**how)
    assert attempts(run, batches=13) > 3
    assert frozen_bytes(run) == frozen_bytes(learned(**how))


def test_stopped_before_every_single_batch_of_a_run_that_grows_and_retrains(
    learned: Callable[..., Run], new_run: Callable[..., Run]
) -> None:
    rest = ("pick_train.score_freeze_epoch=1", "prune.targets=[0.5]", "batch_size=48")
    short = ("grow.max_x=1.5", "pick_train.epochs=2", *rest)
    how = {"overrides": (*GROWS, *short), **TWO_TASKS}
    run = new_run(**how)
    assert attempts(run, batches=1) > 50
    done = {stage.stage for record in run.records() for stage in record.stages}
    assert done == {"pick_train", "check", "grow", "prune", "retrain", "freeze"}
    assert frozen_bytes(run) == frozen_bytes(learned(**how))


def test_a_residual_network_stopped_every_few_batches(learned: Callable[..., Run], new_run: Callable[..., Run]) -> None:
    residual = DEEP["resnet18_32"]
    how = {**TWO_TASKS, **residual, "overrides": (*residual["overrides"], "grow.max_x=1.0")}
    run = new_run(**how)
    assert attempts(run, batches=3) > 3
    assert frozen_bytes(run) == frozen_bytes(learned(**how))


def test_one_seed_gives_the_same_bytes_twice_and_another_seed_others(
    learned: Callable[..., Run], tmp_path: Path
) -> None:
    first = frozen_bytes(learned(**TWO_TASKS))
    assert frozen_bytes(learn(tmp_path / "again", spec(**TWO_TASKS))) == first
    other = frozen_bytes(learn(tmp_path / "other", spec(seed=2, **TWO_TASKS)))
    assert other.keys() == first.keys()
    assert [name for name in first if name.endswith("delta.safetensors") and other[name] == first[name]] == []


def test_a_stage_of_other_settings_is_never_taken_for_this_ones(tmp_path: Path, learned: Callable[..., Run]) -> None:
    """Nothing is frozen yet, so the settings may change; what stages of the old ones left must not be read."""
    grows = ("check.min_train_accuracy=1.0", "grow.first_task=true", "prune.targets=[0.3]")
    assert attempt(begun(tmp_path, spec(overrides=grows, **TWO_TASKS)), batches=EPOCH * 3 + 2)
    assert newest(tmp_path / "work", "03-*").name == "03-grow"
    run = begun(tmp_path, spec(**TWO_TASKS))
    learn_sequence(run, Silent())
    assert frozen_bytes(run) == frozen_bytes(learned(**TWO_TASKS))


def test_a_stage_of_another_seed_is_never_taken_for_this_ones(tmp_path: Path) -> None:
    """Stopped in its third stage, under the same name; without a validation split, which is drawn by the seed too."""
    of_all = ("val_fraction=0", "goal_split=test")
    assert attempt(begun(tmp_path, spec(tasks="1", overrides=of_all)), batches=EPOCH * 3 + 5)
    assert newest(tmp_path / "work", "03-*").name == "03-prune"
    wanted = spec(tasks="1", seed=2, overrides=of_all)
    run = begun(tmp_path, wanted)
    learn_sequence(run, Silent())
    assert frozen_bytes(run) == frozen_bytes(learn(tmp_path / "whole", wanted))


def test_balanced_batches_and_a_fold_stopped_every_few_batches(tmp_path: Path) -> None:
    made = spec(tasks="1", overrides=("pick_train.epochs=2", "prune.targets=[0.5]"))
    how = {"sampling": "balanced", "validation": {"fold": {"of": 4, "index": 2}}}
    task = made.tasks[0].model_validate({**made.tasks[0].model_dump(), **how})
    balanced = made.model_copy(update={"tasks": (task,)})
    run = begun(tmp_path / "stopped", balanced)
    assert attempts(run, batches=4) > 3
    assert frozen_bytes(run) == frozen_bytes(learn(tmp_path / "whole", balanced))
    other = made.model_copy(update={"tasks": (task.model_copy(update={"sampling": None}),)})
    assert frozen_bytes(learn(tmp_path / "other", other)) != frozen_bytes(run)


def test_a_plateau_and_the_best_epoch_in_every_stage_stopped_every_few_batches(
    learned: Callable[..., Run], new_run: Callable[..., Run]
) -> None:
    plateau = "{kind: plateau, factor: 0.1, patience: 1, at_most: 2}"
    rules = [
        *(f"{stage}.schedule={plateau}" for stage in ("pick_train", "prune")),
        f"pick_train.score_schedule={plateau}",
        *(f"{stage}.keep=best" for stage in ("pick_train", "prune")),
    ]
    how = {"overrides": (*rules, "pick_train.lr=0.1", "pick_train.epochs=5", "prune.epochs=3"), **TWO_TASKS}
    run = new_run(**how)
    assert attempts(run, batches=13) > 3
    assert frozen_bytes(run) == frozen_bytes(learned(**how))
    trained = [stage for record in run.records() for stage in record.stages if stage.stage == "pick_train"]
    scores = [[epoch.accuracy for epoch in stage.epochs] for stage in trained]
    assert [stage.accuracy for stage in trained] == [max(of_stage) for of_stage in scores]
    assert any(of_stage.index(max(of_stage)) < len(of_stage) - 1 for of_stage in scores), "no earlier epoch was kept"
    assert any(stage.epochs[-1].lr < stage.epochs[0].lr for stage in trained), "no rate fell"
