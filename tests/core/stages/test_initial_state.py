"""What a task begins with: fresh weights as the settings draw them, and released ones after a growth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from core.tiny import GROWS, bits, spec
from cpg_core.config.schedules import STEADY
from cpg_core.methods import find
from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.network import Network, shared_parameters
from cpg_core.model.state import TaskState
from cpg_core.runner import learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.grow import grow
from cpg_core.stages.initial_state import first_state, fresh_network
from cpg_core.stages.next_stage import Request
from cpg_core.stages.open_task import open_task
from cpg_core.stages.train_state import plan_of
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.reporter import Silent

FIRST = Request("pick_train", 1, None, 1.0)


def opened(run: Run, index: int = 1) -> TaskContext:
    return open_task(run, find(run.spec.method), index, Silent())


def grown(context: TaskContext, folder: Path) -> TaskState:
    """What task `index` begins with after it has grown to x1.5."""
    outcome = grow(context, Request("grow", 3, None, 1.5), None, Snapshots(folder, "key"))
    assert outcome.state is not None
    return outcome.state


def weights_of(network: Network) -> Layers:
    return {name: parameter.detach() for name, parameter in shared_parameters(network).items()}


@pytest.mark.parametrize("new_weights", ["border", "all"])
def test_a_growth_draws_new_rows_and_columns_or_all_released_weights(
    new_run: Callable[..., Run], tmp_path: Path, new_weights: str
) -> None:
    run = new_run(tasks="1-2", overrides=(*GROWS, f"grow.new_weights={new_weights}"))
    learn_task(opened(run))
    context = opened(run, 2)
    state, fresh = grown(context, tmp_path), weights_of(fresh_network(context, 1.5))
    for name, value in state.value.items():
        shape = context.before.weight[name].shape
        assert value.shape > shape
        old = torch.zeros_like(value, dtype=torch.bool)
        leading_block(old, shape).fill_(True)
        released = old & state.own[name]
        assert released.any()
        assert not (value * (old & ~state.own[name])).any()  # of task 1: picked, not held
        assert torch.equal(value[~old], fresh[name][~old])
        assert value[~old].all()
        assert torch.equal(value[released], fresh[name][released]) == (new_weights == "all")
        assert bool(value[released].any()) == (new_weights == "all")


def test_the_first_task_grows_into_fresh_weights_alone(new_run: Callable[..., Run], tmp_path: Path) -> None:
    context = opened(new_run(overrides=("grow.new_weights=border",)))
    state = grown(context, tmp_path)
    assert bits(state.value) == bits(weights_of(fresh_network(context, 1.5)))


@pytest.mark.parametrize("unit", ["channel", "weight"])
@pytest.mark.parametrize(("budget_x", "released_init"), [(1.0, "zero"), (1.0, "random"), (1.5, "border"), (1.5, "all")])
def test_a_channel_that_was_released_whole_begins_anew(
    new_run: Callable[..., Run], unit: str, budget_x: float, released_init: str
) -> None:
    """Its batch norm's scale too: under the task before it may have been pruned because that was small.

    Also of a task that is pruned by weight, where the one before was pruned by channel.
    """
    run = new_run(tasks="1-2", overrides=("prune.unit=channel",))
    learn_task(opened(run))
    first, second = run.spec.tasks
    tasks = (first, second.model_copy(update={"settings": {"prune": {"unit": unit}}}))
    context = opened(replace(run, spec=run.spec.model_copy(update={"tasks": tasks})), 2)
    assert context.previous is not None
    before = {name: torch.full_like(value, 0.3) for name, value in context.previous.items()}
    state = first_state(replace(context, previous=before), budget_x, released_init)
    fresh = weights_of(fresh_network(context, budget_x))
    untrained = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for layer, norm in (("0.weight", "backbone.1"), ("4.weight", "backbone.5")):
        owned = (context.before.owner[layer] > 0).flatten(1).any(1)
        assert owned.any() and not owned.all()
        released = torch.nonzero(~owned).flatten()
        assert torch.equal(state.value[layer][released], fresh[layer][released])
        for name, value in untrained.items():
            found = state.private[f"{norm}.{name}"]
            assert found[released].tolist() == [value] * len(released)
            assert (found[: len(owned)][owned] == 0.3).all()


def test_linear_layers_and_the_head_are_drawn_from_a_narrow_normal(new_run: Callable[..., Run]) -> None:
    wide = ("base_width=2.0", "linear_init=normal")
    network = fresh_network(opened(new_run(overrides=wide)), 1.0)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 2
    for module in linear:
        error = 4 * 0.01 / (2 * module.weight.numel()) ** 0.5  # of a standard deviation from so many draws
        assert module.weight.std().item() == pytest.approx(0.01, abs=error)
        assert not module.bias.any()


def test_the_other_choice_draws_as_the_backbone_does_and_convolutions_are_its_own(new_run: Callable[..., Run]) -> None:
    normal, own = (
        fresh_network(opened(new_run(overrides=(f"linear_init={choice}",))), 1.0) for choice in ("normal", "kaiming")
    )
    assert own.head.weight.std().item() > 0.05
    same = {name for name, weight in weights_of(own).items() if torch.equal(weight, weights_of(normal)[name])}
    assert same == {name for name, weight in weights_of(own).items() if weight.dim() == 4}


@pytest.mark.parametrize("seeds", ["shared", "per_method"])
def test_methods_share_their_first_weights_and_batches_or_draw_their_own(tmp_path: Path, seeds: str) -> None:
    drawn = []
    for method in ("cpg", "finetune"):
        context = opened(open_or_new(tmp_path / method, spec(method, overrides=(f"seeds={seeds}",))))
        state = first_state(context, 1.0, "zero")
        drawn.append((bits(state.value), bits(state.private), plan_of(context, FIRST, 1, 0.1, STEADY).seed))
    pairs = [a == b for a, b in zip(*drawn, strict=True)]
    assert pairs == ([True, True, True] if seeds == "shared" else [False, False, False])
