"""Law 5: pruning releases exactly what is asked, only from the task's own weights, up to the highest good target."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from core.tiny import DEEP, GROWS, OPTIMIZERS, learners
from torch import Tensor

from cpg_core.runner import execute, learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_state, stage_folder
from cpg_core.stages.pruning.prune_schedule import release_count, smallest
from cpg_core.stages.request import Request
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent

Choose = Callable[[Tensor, Tensor, int], Tensor]


def by_sorting(value: Tensor, own: Tensor, count: int) -> set[int]:
    """The law in plain Python: owned places sorted by (magnitude, index), the first `count` of them."""
    magnitude, owned = value.flatten().abs().tolist(), own.flatten().tolist()
    places = [place for place in range(len(owned)) if owned[place]]
    return set(sorted(places, key=lambda place: (magnitude[place], place))[:count])


def with_threshold(value: Tensor, own: Tensor, count: int) -> Tensor:
    """The wrong way: everything up to the magnitude of the last one asked for, so ties go too."""
    edge = value[own].abs().sort().values[count - 1]
    return own & (value.abs() <= edge)


def without_owner(value: Tensor, own: Tensor, count: int) -> Tensor:
    """The wrong way: the smallest of the whole layer."""
    return smallest(value, torch.ones_like(own), count)


def case(seed: int) -> tuple[Tensor, Tensor]:
    """A layer with many ties, zeros of both signs, and a random half that is owned; some channels last."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randint(-3, 4, (5, 4, 3, 3), generator=generator) * torch.tensor(0.5)
    own = torch.rand(value.shape, generator=generator) < 0.5
    value = torch.where(torch.rand(value.shape, generator=generator) < 0.1, -0.0, value)
    if seed % 2:
        value, own = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (value, own))
    return value, own


def agrees(choose: Choose) -> bool:
    for seed in range(20):
        value, own = case(seed)
        for count in (1, 7, int(own.sum()) // 2, int(own.sum())):
            chosen = choose(value, own, count)
            if set(chosen.flatten().nonzero().flatten().tolist()) != by_sorting(value, own, count):
                return False
    return True


def test_the_smallest_owned_are_chosen_and_ties_go_to_the_lower_index() -> None:
    assert agrees(smallest)


@pytest.mark.parametrize("wrong", [with_threshold, without_owner])
def test_a_threshold_or_a_choice_over_all_fails_the_same_check(wrong: Choose) -> None:
    assert not agrees(wrong)


def test_asking_for_none_or_for_too_many() -> None:
    value, own = case(0)
    assert not smallest(value, own, 0).any()
    with pytest.raises(ValueError, match="cannot release"):
        smallest(value, own, int(own.sum()) + 1)


Held = dict[str, tuple[int, int]]
"""Per layer: weights that the task holds, and weights that it could hold."""


def counts_after_each_prune(run: Run) -> list[tuple[StageRecord, Held]]:
    found = []

    def count(context: TaskContext, request: Request) -> StageRecord:
        record = execute(context, request)
        if request.stage == "prune":
            folder = stage_folder(context.run.task_work(context.index), request.number)
            own = read_state(folder, context.run.shapes(request.budget_x)).own
            older = context.older(context.shared(request.budget_x))
            assert not any((own[name] & older[name]).any() for name in own), "only free weights are held"
            found.append((record, {name: (int(own[name].sum()), int((~older[name]).sum())) for name in own}))
        return record

    learn_sequence(run, Silent(), lambda context: learn_task(context, count))
    return found


def exact(record: StageRecord, held: Held) -> bool:
    """Of `free` weights the whole part of `free * target` is released: worked out in whole hundredths."""
    assert record.target is not None
    hundredths = round(100 * record.target)
    assert record.target == hundredths / 100, "the targets here are whole hundredths"
    return all(100 * (free - own) <= free * hundredths < 100 * (free - own + 1) for own, free in held.values())


BY_HAND = [
    (72, 0.5, 36),
    (73, 0.5, 36),  # 36.5
    (100, 0.29, 29),  # 28.999999999999996 in binary
    (1000, 0.57, 570),  # 569.9999999999999 in binary
    (7, 0.8, 5),  # 5.6
    (10, 0.3, 3),
    (10, 0.39, 3),  # 3.9
    (1152, 0.95, 1094),  # 1094.4
    (1, 0.99, 0),
    (0, 0.5, 0),
    (9, 1.0, 9),
    (9, 0.0, 0),
]
"""Available weights, sparsity, and how many are released."""


def test_the_count_is_rounded_down() -> None:
    assert [release_count(free, target) for free, target, _ in BY_HAND] == [released for *_, released in BY_HAND]


@pytest.mark.parametrize("wrong", [math.floor, math.ceil, round])
def test_another_rounding_fails_the_same_values(wrong: Callable[[float], int]) -> None:
    assert [wrong(free * target) for free, target, _ in BY_HAND] != [released for *_, released in BY_HAND]


@pytest.mark.parametrize("prune_epochs", [1, 2], ids=["recovers", "prunes-to-the-last-step"])
@pytest.mark.parametrize(("method", "optimizer"), learners(["cpg", "pae", "packnet"]))
def test_every_layer_holds_exactly_what_its_target_leaves(
    new_run: Callable[..., Run], method: str, optimizer: str, prune_epochs: int
) -> None:
    overrides = (*OPTIMIZERS[optimizer], f"prune.prune_epochs={prune_epochs}", "prune.every_steps=4")
    pruned = counts_after_each_prune(new_run(method=method, tasks="1-2", overrides=overrides))
    assert len(pruned) >= 2
    assert [record.target for record, held in pruned if not exact(record, held)] == []


@pytest.mark.parametrize("backbone", ["resnet18_32", "efficientnet_lite0", "sphereface20"])
def test_so_does_every_layer_beside_a_sum_and_every_depthwise_one(new_run: Callable[..., Run], backbone: str) -> None:
    deep = DEEP[backbone]
    how = {**deep, "overrides": (*deep["overrides"], "one_shot.epochs=1")}
    pruned = counts_after_each_prune(new_run(method="packnet", tasks="1", **how))
    assert len(pruned) == 1
    assert all(exact(record, held) for record, held in pruned)


def test_one_weight_more_or_less_fails_the_same_check(new_run: Callable[..., Run]) -> None:
    (record, held), *_ = counts_after_each_prune(new_run(method="packnet", tasks="1"))
    own, free = held["0.weight"]
    assert exact(record, held)
    assert not exact(record, {**held, "0.weight": (own + 1, free)})
    assert not exact(record, {**held, "0.weight": (own - 1, free)})


def test_a_grown_task_is_pruned_over_all_that_is_free_at_the_new_width(new_run: Callable[..., Run]) -> None:
    pruned = counts_after_each_prune(new_run(tasks="1-3", overrides=GROWS))
    grown = [(record, held) for record, held in pruned if record.budget_x == 2.0]
    assert grown
    assert all(exact(record, held) for record, held in grown)
