"""Law 3: after growth an old task runs on the slice of its own width, and what is new belongs to nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from core.tiny import DEEP, GROWS, bits, random_layers
from core.witness import recalled_network

from cpg_core.methods import assembly_of, find
from cpg_core.model.layers import leading_block
from cpg_core.model.network import build, shared_parameters, width
from cpg_core.model.state import Shared, empty_shared, widened
from cpg_core.seeds import seeded
from cpg_core.stages.grow import grow
from cpg_core.stages.open_task import open_task
from cpg_core.stages.request import Request
from cpg_core.storage.run import Run
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.reporter import Silent

CASES = {
    "digits_cnn": {"tasks": "1-3", "overrides": GROWS},
    "vgg16_bn": {"tasks": "1-2", **DEEP["vgg16_bn"]},
    "resnet18_32": {"tasks": "1-2", **DEEP["resnet18_32"]},
    "sphereface20": {"tasks": "1-2", **DEEP["sphereface20"]},
}


def shapes(backbone: str, budget_x: float, base_width: float = 0.1) -> dict[str, torch.Size]:
    network = build(backbone, width(base_width, budget_x), 2)
    return {name: parameter.shape for name, parameter in shared_parameters(network).items()}


def filled(backbone: str) -> Shared:
    """A random state in which half of the weights are owned by two tasks."""
    empty = empty_shared(shapes(backbone, 1.0))
    noise = random_layers(1, {name: weight.shape for name, weight in empty.weight.items()})
    owner = {name: ((values > 0).int() + (values > 1).int()).to(torch.int16) for name, values in noise.items()}
    return replace(empty, weight={name: noise[name] * (owner[name] > 0) for name in noise}, owner=owner)


def old_block_is_in_the_corner(old: Shared, wide: Shared) -> bool:
    """The old block bit for bit in the leading corner, and everything else released and 0."""
    for name, weight in old.weight.items():
        new_weight, new_owner = wide.weight[name].clone(), wide.owner[name].clone()
        inner_weight, inner_owner = leading_block(new_weight, weight.shape), leading_block(new_owner, weight.shape)
        if not (torch.equal(inner_weight, weight) and torch.equal(inner_owner, old.owner[name])):
            return False
        inner_weight.zero_()
        inner_owner.zero_()
        if new_weight.any() or new_owner.any():
            return False
    return True


@pytest.mark.parametrize("backbone", CASES)
def test_the_old_block_lies_in_the_leading_corner_and_the_rest_is_released(backbone: str) -> None:
    old = filled(backbone)
    once = widened(old, 2.0, shapes(backbone, 2.0))
    twice = widened(once, 4.0, shapes(backbone, 4.0))
    assert old_block_is_in_the_corner(old, once)
    assert old_block_is_in_the_corner(once, twice)
    assert old_block_is_in_the_corner(old, twice)


def test_a_block_in_another_corner_fails_the_same_check() -> None:
    old = filled("digits_cnn")
    wide = widened(old, 4.0, shapes("digits_cnn", 4.0))
    turned = {name: weight.flip(0) for name, weight in wide.weight.items()}
    assert not old_block_is_in_the_corner(old, replace(wide, weight=turned))
    owned = {name: owner.clamp(min=1) for name, owner in wide.owner.items()}
    assert not old_block_is_in_the_corner(old, replace(wide, owner=owned))


@pytest.mark.parametrize("case", CASES)
def test_a_task_runs_at_the_width_of_its_freeze(learned: Callable[..., Run], case: str) -> None:
    run = learned(**CASES[case])
    last = run.frozen()
    shared = assembly_of(run).rebuild(last)
    first = recalled_network(run, 1, shared, run.delta(1))
    now = {name: parameter.shape for name, parameter in shared_parameters(first).items()}
    assert now == run.shapes(1.0)
    assert now != {name: weight.shape for name, weight in shared.weight.items()} == run.shapes(2.0)


@pytest.mark.parametrize("case", CASES)
def test_what_the_first_task_owns_is_untouched_by_growing_twice(learned: Callable[..., Run], case: str) -> None:
    run = learned(**CASES[case])
    before, after = assembly_of(run).rebuild(1), assembly_of(run).rebuild(run.frozen())
    for name, owner in before.owner.items():
        mine = owner == 1
        assert torch.equal(leading_block(after.owner[name], owner.shape) == 1, mine)
        inner = leading_block(after.weight[name], owner.shape)[mine]
        assert bits({name: inner}) == bits({name: before.weight[name][mine]})
        assert int((after.owner[name] == 1).sum()) == int(mine.sum()), "nothing outside of the corner is task 1's"


def test_a_growth_starts_training_anew_until_the_largest_budget(learned: Callable[..., Run]) -> None:
    stages = learned(**CASES["digits_cnn"]).record(2).stages
    assert [(stage.stage, stage.budget_x) for stage in stages[:8]] == [
        ("pick_train", 1.0),
        ("check", 1.0),
        ("grow", 1.5),
        ("pick_train", 1.5),
        ("check", 1.5),
        ("grow", 2.0),
        ("pick_train", 2.0),
        ("check", 2.0),
    ]
    assert [stage.source for stage in stages if stage.stage == "grow"] == [None, None]


def test_new_weights_are_fresh(learned: Callable[..., Run]) -> None:
    run = learned(**CASES["digits_cnn"])
    before, shared = assembly_of(run).rebuild(1), assembly_of(run).rebuild(2)
    own = {name: shared.owner[name] == 2 for name in shared.owner}
    outside = sum(
        int(mask.sum()) - int(leading_block(mask, before.owner[name].shape).sum()) for name, mask in own.items()
    )
    assert outside > 0, "task 2 holds weights in the part that grew"
    used = torch.cat([shared.weight[name][mask] for name, mask in own.items()])
    assert len(used.unique()) > 0.9 * len(used)


def grown_weights(run: Run, folder: Path, attempt: str) -> dict[str, bytes]:
    """What task 2 grows into, opened anew, whatever else was drawn in the process before."""
    with seeded(attempt):
        context = open_task(run, find("cpg"), 2, Silent())
        state = grow(context, Request("grow", 3, None, 2.0), None, Snapshots(folder, "key")).state
    assert state is not None
    return bits(state.value)


def test_new_weights_are_the_same_in_each_attempt_and_others_under_another_seed(
    learned: Callable[..., Run], tmp_path: Path
) -> None:
    run = learned(**CASES["digits_cnn"])
    first = grown_weights(run, tmp_path, "first")
    assert grown_weights(run, tmp_path, "second") == first
    other = Run(run.root, run.spec.model_copy(update={"seed": 2}))
    assert all(weight != first[name] for name, weight in grown_weights(other, tmp_path, "first").items())
