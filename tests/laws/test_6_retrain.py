"""Law 6: what the retrain learned is kept only if it is better than what `retrain.compare` names.

It is judged on the network that is frozen. What the recovery of the chosen sparsity learned is kept only if it is no
worse than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from core.tiny import bits
from core.witness import recalled_network

from cpg_core.config.schedules import Schedule
from cpg_core.methods import assembly_of
from cpg_core.model.network import Network
from cpg_core.model.state import TaskState
from cpg_core.runner import execute, learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_state, stage_folder
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import network_of_state, plan_of
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.training.loop import Plan, decide_accuracy
from cpg_core.training.reporter import Silent

RUINS = ("pick_train.epochs=6", "retrain.lr=2.0")
HELPS = (
    "pick_train.epochs=2",
    "prune.targets=[0.95]",
    "prune.min_sparsity=0.95",
    "prune.lr=1.0e-6",
    "retrain.lr=0.02",
    "retrain.epochs=6",
    "retrain.patience=6",
)
Execute = Callable[[TaskContext, Request], StageRecord]


def keeps_whatever_comes(context: TaskContext, request: Request) -> StageRecord:
    """The wrong way: the retrained state is taken as it is."""
    record = execute(context, request)
    return record.model_copy(update={"kept": True}) if request.stage == "retrain" else record


class Seen(NamedTuple):
    """Task 2 before the stage that may be dropped and as it was frozen."""

    accuracy_before: float
    accuracy_frozen: float
    kept: bool
    same_bits: bool


def val_accuracy(run: Run, network: Network) -> float:
    return decide_accuracy(network, run.data(2), "val", 250)


def watch(run: Run, do: Execute, stage: str = "retrain") -> Seen:
    before: list[Network] = []
    kept: list[bool] = []

    def look(context: TaskContext, request: Request) -> StageRecord:
        if request.stage == stage:
            assert request.source is not None
            folder = stage_folder(context.run.task_work(context.index), request.source)
            before.append(network_of_state(context, read_state(folder, context.run.shapes(request.budget_x))))
        record = do(context, request)
        kept.extend([bool(record.kept)] if request.stage == stage else [])
        return record

    learn_sequence(run, Silent(), lambda context: learn_task(context, look if context.index == 2 else do))
    assert len(before) == len(kept) == 1
    frozen = recalled_network(run, 2, assembly_of(run).rebuild(2), run.delta(2))
    return Seen(
        accuracy_before=val_accuracy(run, before[0]),
        accuracy_frozen=val_accuracy(run, frozen),
        kept=kept[0],
        same_bits=bits(before[0].state_dict()) == bits(frozen.state_dict()),
    )


@pytest.mark.parametrize("compare", ["compact", "reset"])
def test_a_retrain_that_ruins_the_task_is_dropped_to_the_last_bit(new_run: Callable[..., Run], compare: str) -> None:
    run = new_run(tasks="1-2", overrides=(*RUINS, f"retrain.compare={compare}"))
    seen = watch(run, execute)
    assert not seen.kept
    assert seen.same_bits
    assert seen.accuracy_frozen == seen.accuracy_before == run.record(2).accuracy


@pytest.mark.parametrize("compare", ["compact", "reset"])
def test_a_retrain_that_helps_is_kept(new_run: Callable[..., Run], compare: str) -> None:
    run = new_run(tasks="1-2", overrides=(*HELPS, f"retrain.compare={compare}"))
    seen = watch(run, execute)
    assert seen.kept
    assert not seen.same_bits
    assert seen.accuracy_before < seen.accuracy_frozen == run.record(2).accuracy


@pytest.mark.parametrize("compare", ["compact", "reset"])
def test_what_it_must_be_better_than_is_the_compact_model_or_that_with_its_picks_reset(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, compare: str
) -> None:
    """A compact model that nothing can better, which with all older weights picked is of no use."""

    def accuracy(context: TaskContext, state: TaskState) -> float:
        older = context.older(context.shared(state.budget_x))
        return 0.0 if all(torch.equal(state.pick[name], mask) for name, mask in older.items()) else 1.0

    monkeypatch.setattr("cpg_core.stages.retrain.accuracy_of_state", accuracy)
    drops_some = ("pick_train.score_lr=0.02", "retrain.epochs=1", f"retrain.compare={compare}")
    seen = watch(new_run(tasks="1-2", overrides=drops_some), execute)
    assert seen.kept == (compare == "reset")
    assert seen.same_bits == (compare == "compact")


def test_a_retrain_that_is_kept_whatever_it_gives_fails_the_same_check(new_run: Callable[..., Run]) -> None:
    seen = watch(new_run(tasks="1-2", overrides=RUINS), keeps_whatever_comes)
    assert seen.accuracy_frozen < seen.accuracy_before


@pytest.mark.parametrize("patience", [1, 6])
def test_the_kept_state_is_that_of_the_best_epoch(new_run: Callable[..., Run], patience: int) -> None:
    run = new_run(tasks="1-2", overrides=(*HELPS, f"retrain.patience={patience}"))
    seen = watch(run, execute)
    epochs = next(stage for stage in run.record(2).stages if stage.stage == "retrain").epochs
    best = max(epoch.accuracy for epoch in epochs)
    assert seen.accuracy_frozen == best
    behind = len(epochs) - 1 - next(epoch.epoch for epoch in epochs if epoch.accuracy == best)
    assert behind == patience or (behind < patience and len(epochs) == 6)


def test_the_first_task_and_a_method_that_picks_all_never_retrain(learned: Callable[..., Run]) -> None:
    assert "retrain" not in [stage.stage for stage in learned().record(1).stages]
    assert "retrain" not in [stage.stage for stage in learned(method="pae").record(2).stages]
    assert "retrain" in [stage.stage for stage in learned().record(2).stages]


RECOVERS = (
    "prune.recover_epochs=4",
    "retrain.epochs=0",
    "prune.epochs=1",
    "prune.targets=[0.9]",
    "prune.min_sparsity=0.9",
)


def test_a_recovery_that_ruins_the_task_is_dropped_to_the_last_bit(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruinous(context: TaskContext, request: Request, epochs: int, lr: float, schedule: Schedule) -> Plan:  # noqa: ARG001
        return plan_of(context, request, epochs, 2.0, schedule)

    monkeypatch.setattr("cpg_core.stages.pruning.recover.plan_of", ruinous)
    seen = watch(new_run(tasks="1-2", overrides=RECOVERS), execute, "recover")
    assert not seen.kept
    assert seen.same_bits


def test_a_recovery_that_is_no_worse_is_kept(new_run: Callable[..., Run]) -> None:
    run = new_run(tasks="1-2", overrides=RECOVERS)
    seen = watch(run, execute, "recover")
    assert seen.kept
    assert not seen.same_bits
    assert seen.accuracy_before <= seen.accuracy_frozen == run.record(2).accuracy
    assert run.record(2).sparsity == pytest.approx(0.9, abs=0.01)  # nothing more is released, nothing comes back
