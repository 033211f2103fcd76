"""Dynamically expandable networks: retrain what is needed, expand on a miss, split what drifted (Yoon et al., 2018).

Task 1 minimises loss + mu |W|_1; a later task first trains its head alone, then the weights on a path to it (algorithm
2); with the goal missed, units are added under a group lasso, gamma sum_g |W_g|_2 (algorithm 3); units whose weights
moved further than sigma are split (algorithm 4). The one network is trained in place, so an earlier task may change;
it runs on the slice of its own width, so it does not see units that came later ("timestamped inference").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softshrink

from cpg_core.config.schedules import STEADY
from cpg_core.data.batches import batch_count
from cpg_core.errors import CpgError
from cpg_core.methods import sequential
from cpg_core.model.layers import Layers, copy_leading_block, leading_block
from cpg_core.model.network import Network, private_tensors, shared_parameters
from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.growth_rules import GrowOnMiss, wider
from cpg_core.stages.initial_state import first_state, fresh_network
from cpg_core.stages.request import Request, Rules
from cpg_core.stages.stage_table import STAGES
from cpg_core.stages.train_state import outcome_of, plan_of, train_state
from cpg_core.storage.records import StageRecord
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.loop import Plan
from cpg_core.training.optimizer import TaskOptimizer


class GrowOnce(GrowOnMiss):
    """A task that misses its goal adds `den.step_x`, once, and goes on from what it has learned (section 3.2)."""

    def on_miss(self, check: StageRecord, rules: Rules) -> tuple[float, int | None] | None:
        """One step, if the task has not grown yet."""
        grown = check.budget_x != rules.budget_x
        if rules.index == 1 or grown or check.budget_x >= rules.settings.grow.max_x:
            return None
        return wider(check.budget_x, rules.settings.den.step_x, rules), check.source


def split_next(done: Sequence[StageRecord], chosen: int, rules: Rules) -> Request | None:
    """A split before the freeze, where units drifted and there is room for their copies (section 3.3)."""
    if not any(record.drifted for record in done):
        return None
    budget_x = done[-1].budget_x
    if budget_x == rules.budget_x:
        budget_x = wider(budget_x, rules.settings.den.step_x, rules)
    return Request("split", len(done) + 1, chosen, budget_x) if budget_x > rules.budget_x else None


def pick_train(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Selective retraining (section 3.1), or after a growth the training of the added units (section 3.2)."""
    config, den = context.settings.pick_train, context.settings.den
    begun = state or first_state(context, request.budget_x, context.settings.released_init)
    plan = replace(plan_of(context, request, config.epochs, config.lr, config.schedule), keep=config.keep)
    if context.index == 1:
        trainable = {name: torch.ones_like(own) for name, own in begun.own.items()}
        plan = replace(plan, after_step=Shrink(den.l1))
    elif state is None:
        trainable = {name: torch.zeros_like(own) for name, own in begun.own.items()}
        batches = batch_count(len(context.data.train), context.settings.batch_size, context.ranks.share.of)
        head_epochs = min(den.head_epochs, config.epochs - 1)
        plan = replace(plan, after_step=Select(head_epochs * batches, den.l1), judged_from=head_epochs)
    else:
        trainable = _added(context, begun.own)
        units = {name: weight.shape[0] for name, weight in context.before.weight.items()}
        plan = replace(plan, after_step=ShrinkUnits(den.group, units))
    outcome = _train_some(context, begun, plan, snapshots, trainable)
    assert outcome.state is not None
    found = drifted(context, outcome.state) if context.index > 1 else {}
    return replace(outcome, fields={**outcome.fields, "drifted": sum(map(len, found.values()))})


def grow(
    context: TaskContext,
    request: Request,
    state: TaskState | None,
    snapshots: Snapshots,  # noqa: ARG001  (as every stage)
) -> Outcome:
    """Add units to every layer; what the task has learned so far stays (section 3.2)."""
    assert state is not None
    return Outcome(_wider(context, state, request.budget_x))


def split(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:
    """Double units that drifted: the copy keeps what the task made of it, the unit gets its weights back (section 3.3).

    The units that drifted most come first, as far as the wider network has units that nobody uses; then the copies,
    and whatever else this task has added, are trained.
    """
    assert state is not None
    found, now = drifted(context, state), _wider(context, state, request.budget_x)
    value = {name: weight.clone() for name, weight in now.value.items()}
    names = list(value)
    for place_in_chain, name in enumerate(names):
        old = context.before.weight[name]
        spare = [unit for unit in range(old.shape[0], value[name].shape[0]) if _unused(state, name, unit)]
        for unit, copy in zip(found[name], spare, strict=False):
            value[name][copy] = value[name][unit]
            leading_block(value[name][unit], old[unit].shape).copy_(old[unit])
            if place_in_chain + 1 < len(names):
                after = value[names[place_in_chain + 1]]
                inputs = _inputs(after, value[name].shape[0])
                inputs[:, copy] = inputs[:, unit]
    begun = replace(now, value=value)
    plan = plan_of(context, request, context.settings.den.split_epochs, context.settings.prune.lr, STEADY)
    return _train_some(context, begun, plan, snapshots, _added(context, now.own))


def _train_some(context: TaskContext, state: TaskState, plan: Plan, snapshots: Snapshots, trainable: Layers) -> Outcome:
    """Train some weights of the one network; the task then holds all of it that is not 0."""
    trained = train_state(context, state, plan, snapshots, trainable=trainable, learns_picks=False)
    own = {name: weight != 0 for name, weight in trained.weights.items()}
    return outcome_of(trained, state.budget_x, own=own, pick=state.pick)


@dataclass(frozen=True)
class Shrink:
    """The proximal step of an l1 penalty: every trained weight goes towards 0, and stays there if it would pass it.

    It comes after each step of the optimizer, so that what is 0 is 0 when training ends.
    """

    strength: float

    def __call__(self, network: Network, optimizer: TaskOptimizer, done: int, lr: float) -> None:  # noqa: ARG002
        """Shrink what is trained."""
        trainable = optimizer.trainable()
        for name, weight in shared_parameters(network).items():
            data = weight.data
            data.copy_(torch.where(trainable[name], softshrink(data, self.strength * lr), data))


@dataclass(frozen=True)
class ShrinkUnits:
    """The proximal step of a group lasso: the weights into each added unit shrink together.

    Attributes:
        units: how many units each layer had before.
    """

    strength: float
    units: dict[str, int]

    def __call__(self, network: Network, optimizer: TaskOptimizer, done: int, lr: float) -> None:  # noqa: ARG002
        """Shrink the added units."""
        for name, weight in shared_parameters(network).items():
            added = weight.data[self.units[name] :]
            if added.numel():
                norm = added.flatten(1).norm(dim=1).clamp_min(1e-12)
                left = (1 - self.strength * lr / norm).clamp_min(0.0)
                added.mul_(left.view(-1, *[1] * (added.dim() - 1)))


@dataclass(frozen=True)
class Select:
    """For `steps` steps the head alone learns, sparsely; then the weights that it rests on may move (algorithm 2)."""

    steps: int
    strength: float

    def __call__(self, network: Network, optimizer: TaskOptimizer, done: int, lr: float) -> None:
        """Shrink the head, and select once it has learned."""
        if done <= self.steps:
            head = cast(nn.Linear, network.head).weight.data
            head.copy_(softshrink(head, self.strength * lr))
        if done == max(self.steps, 1):
            for name, positions in selected(network).items():
                optimizer.set_trainable(name, positions)


def selected(network: Network) -> Layers:
    """Where the weights lie that a path of weights other than 0 leads from to the head (algorithm 2).

    Raises:
        CpgError: the backbone is no chain of layers.
    """
    needed = (cast(nn.Linear, network.head).weight.detach() != 0).any(dim=0)
    found: Layers = {}
    for name, weight in reversed(shared_parameters(network).items()):
        if needed.numel() % weight.shape[0]:
            raise CpgError(f"den needs a backbone that is a chain of layers; {name} does not lead into the next")
        units = needed.view(weight.shape[0], -1).any(dim=1)
        positions = units.view(-1, *[1] * (weight.dim() - 1)) & (weight.detach() != 0)
        found[name] = positions
        needed = positions.flatten(2).any(dim=2).any(dim=0) if positions.dim() > 2 else positions.any(dim=0)
    return dict(reversed(found.items()))


def drifted(context: TaskContext, state: TaskState) -> dict[str, list[int]]:
    """Units of earlier tasks whose weights moved by more than `den.drift` of their norm, the furthest first."""
    found = {}
    for name, old in context.before.weight.items():
        before, moved = old.flatten(1), (leading_block(state.value[name], old.shape) - old).flatten(1).norm(dim=1)
        norm = before.norm(dim=1)
        share = torch.where(norm > 0, moved / norm.clamp_min(1e-12), torch.where(moved > 0, math.inf, 0.0))
        order = torch.argsort(share, descending=True, stable=True)
        found[name] = [unit for unit in order.tolist() if share[unit] > context.settings.den.drift]
    return found


def _wider(context: TaskContext, state: TaskState, budget_x: float) -> TaskState:
    """The state in the leading block of a fresh network of a budget; itself where that is its own."""
    if budget_x == state.budget_x:
        return replace(state, own={name: torch.ones_like(own) for name, own in state.own.items()})
    network = fresh_network(context, budget_x)
    value = {name: weight.detach().clone() for name, weight in shared_parameters(network).items()}
    private = {name: tensor.clone() for name, tensor in private_tensors(network).items()}
    for wide, narrow in ((value, state.value), (private, state.private)):
        for name, tensor in narrow.items():
            copy_leading_block(wide[name], tensor)
    none = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in value.items()}
    return TaskState(budget_x, {name: ~mask for name, mask in none.items()}, value, none, private)


def _added(context: TaskContext, layers: Layers) -> Layers:
    """Where the weights lie that no earlier task's network has."""
    added = {name: torch.ones_like(layer, dtype=torch.bool) for name, layer in layers.items()}
    for name, old in context.before.weight.items():
        leading_block(added[name], old.shape).fill_(False)
    return added


def _unused(state: TaskState, name: str, unit: int) -> bool:
    return unit >= state.value[name].shape[0] or not bool(state.value[name][unit].any())


def _inputs(weight: Tensor, units: int) -> Tensor:
    """A layer's weight as `[out, units, ...]`, as a view: a linear layer after a flattened map has several a unit."""
    return weight.view(weight.shape[0], units, -1)


METHOD = replace(
    sequential.METHOD,
    name="den",
    source="Yoon et al., Lifelong Learning with Dynamically Expandable Networks, ICLR 2018",
    stages={**STAGES, "pick_train": pick_train, "grow": grow, "split": split},
    growth=GrowOnce(),
    steps_alike=False,
    chain_only=True,
    after_pruning=split_next,
)
