"""What sets one method apart from another, where the laws are the same for all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core.tiny import spec
from core.witness import recalled, recalled_network
from cpg_core.methods import assembly_of, find, names
from cpg_core.model.layers import Layers
from cpg_core.recall.audit import audit
from cpg_core.recall.metrics import summary
from cpg_core.storage.run import Run
from cpg_core.training.loop import decide_accuracy

STILL = ("pick_train.lr=1.0e-9", "finetune.lr=1.0e-9")


def model(run: Run, index: int) -> Layers:
    """The weights of an independent model."""
    assembly = assembly_of(run)
    return assembly.base(assembly.shared(), run.record(index), run.delta(index)).weight


@pytest.mark.parametrize("method", names())
def test_an_audit_passes_where_nothing_may_be_forgotten_and_fails_elsewhere(
    learned: Callable[..., Run], method: str
) -> None:
    findings = audit(learned(method=method))
    assert all(finding.ok for finding in findings) is not find(method).overwrites


def test_models_apart_do_not_know_of_each_other(learned: Callable[..., Run]) -> None:
    assert torch.equal(recalled(learned(method="scratch"), 2), recalled(learned(method="scratch", tasks="2"), 1))


@pytest.mark.parametrize(("method", "cached"), [("scratch", False), ("finetune", False), ("cpg", True)])
def test_only_a_network_that_tasks_share_is_cached(learned: Callable[..., Run], method: str, cached: bool) -> None:
    assert (learned(method=method).work / "shared.safetensors").exists() is cached


@pytest.mark.parametrize("method", ["cpg", "finetune", "sequential"])
def test_other_models_do(learned: Callable[..., Run], method: str) -> None:
    assert not torch.equal(recalled(learned(method=method), 2), recalled(learned(method=method, tasks="2"), 1))


@pytest.mark.parametrize(("method", "close"), [("finetune", True), ("scratch", False)])
def test_fine_tuning_begins_from_an_earlier_task(learned: Callable[..., Run], method: str, close: bool) -> None:
    run = learned(method=method, tasks="1-2", overrides=STILL)
    first, second = (model(run, index) for index in (1, 2))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first) is close


def test_the_task_that_fine_tuning_begins_from_is_drawn_by_the_seed(learned: Callable[..., Run]) -> None:
    def begun_from(seed: int) -> int:
        run = learned(method="finetune", seed=seed, overrides=STILL)
        models = [model(run, index) for index in (1, 2, 3)]
        name = next(iter(models[0]))
        return min((1, 2), key=lambda index: float((models[index - 1][name] - models[2][name]).abs().max()))

    # All models of one run are next to equal here, so tell them apart by what moved last.
    assert {begun_from(seed) for seed in range(1, 6)} == {1, 2}


@pytest.mark.parametrize(("init_from", "begun"), [("random", {1, 2}), ("first", {1})])
def test_fine_tuning_may_begin_from_the_first_task(init_from: str, begun: set[int]) -> None:
    drawn = find("finetune").init_from
    runs = (spec(method="finetune", seed=seed, overrides=(f"finetune.init_from={init_from}",)) for seed in range(1, 6))
    assert {drawn(run, 3) for run in runs} == begun


def test_a_task_may_say_itself_where_it_begins() -> None:
    drawn, begun = find("finetune").init_from, set()
    for seed in range(1, 6):
        run = spec(method="finetune", seed=seed, overrides=("finetune.init_from=random",))
        own = run.tasks[2].model_copy(update={"settings": {"finetune": {"init_from": "first"}}})
        begun.add((drawn(run, 3), drawn(run.model_copy(update={"tasks": (*run.tasks[:2], own)}), 3)))
    assert begun == {(1, 1), (2, 1)}


def test_models_apart_count_as_many_times_the_base_network(learned: Callable[..., Run]) -> None:
    assert summary(learned(method="scratch"))["expansion_x"] == 3.0
    assert summary(learned(method="packnet"))["expansion_x"] == 1.0


def test_piggyback_only_picks_after_its_first_task(learned: Callable[..., Run]) -> None:
    first, *later = learned(method="piggyback", overrides=("pick_train.score_lr=0.01",)).records()
    assert first.sparsity == 0.0
    assert [record.own for record in later] == [0, 0]
    assert all(record.picked is not None and 0 < record.picked < 1 for record in later)
    assert all(record.delta_bytes < first.delta_bytes / 2 for record in later)


def test_a_column_leads_into_its_own_units_from_all_below_and_never_back(learned: Callable[..., Run]) -> None:
    run = learned(method="progressive", overrides=("progressive.column_width=0.5",))
    assert [record.budget_x for record in run.records()] == [1.0, 2.25, 4.0]
    owner = assembly_of(run).shared().owner
    before = [run.shapes(record.budget_x) for record in run.records()]
    for name, layer in owner.items():
        first, second, third = (shapes[name][0] for shapes in before)
        assert layer[second:third].unique().tolist() == [3]
        assert layer[first:second, : before[1][name][1]].unique().tolist() == [2]
        assert not layer[:first, before[0][name][1] :].any()
        assert not layer[first:second, before[1][name][1] :].any()


def test_columns_count_what_they_hold(learned: Callable[..., Run]) -> None:
    run = learned(method="progressive", overrides=("progressive.column_width=0.5",))
    owned = sum(record.own for record in run.records())
    assert run.record(3).allocated == owned
    assert summary(run)["redundancy_x"] == 0.0
    assert [record.sparsity for record in run.records()] == [0.0, 0.0, 0.0]


def test_a_column_hears_the_earlier_ones(learned: Callable[..., Run]) -> None:
    run = learned(method="progressive", tasks="1-2")
    deaf = assembly_of(run).shared()
    for name, weight in deaf.weight.items():
        weight[run.shapes(1.0)[name][0] :, : run.shapes(1.0)[name][1]] = 0.0
    assert not torch.equal(recalled(run, 2, deaf), recalled(run, 2))


def test_packnet_recovers_along_its_own_schedule(learned: Callable[..., Run]) -> None:
    """Published: a tenth of the rate from epoch 25 of 30; here from epoch 1 of 2."""
    falls = ("one_shot.lr=0.01", "one_shot.schedule={kind: steps, at_epochs: [1], factor: 0.1}")
    for overrides, rates in ((falls, [0.01, 0.001]), (falls[:1], [0.01, 0.01])):
        cut = next(stage for stage in learned(method="packnet", overrides=overrides).record(1).stages if stage.target)
        assert [epoch.lr for epoch in cut.epochs] == pytest.approx(rates)


def test_with_nothing_held_out_all_images_train_and_the_test_split_decides(learned: Callable[..., Run]) -> None:
    run = learned(tasks="1-2", overrides=("goal_split=test", "val_fraction=0"))
    held_out = learned(tasks="1-2")
    for record, other in zip(run.records(), held_out.records(), strict=True):
        assert record.images["val"] == 0
        assert record.images["train"] == other.images["train"] + other.images["val"]
        assert record.goal_split == "test"
        assert record.accuracy == record.test_accuracy
    assert all(finding.ok for finding in audit(run))


def test_a_validation_split_of_nothing_cannot_be_judged_on(learned: Callable[..., Run]) -> None:
    """The control: whoever reads it is found out."""
    run = learned(tasks="1-2", overrides=("goal_split=test", "val_fraction=0"))
    with pytest.raises(ZeroDivisionError):
        decide_accuracy(recalled_network(run, 1, assembly_of(run).rebuild(1), run.delta(1)), run.data(1), "val", 8)
