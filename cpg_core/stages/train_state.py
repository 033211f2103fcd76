"""Train a state by a plan: what all stages that train have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cpg_core.config.schedules import Schedule
from cpg_core.machine import device_of
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, private_tensors, shared_parameters, width
from cpg_core.model.ownership import size
from cpg_core.model.state import Shared, TaskState, effective, loaded_network
from cpg_core.stages.channels import channel_picks, units_of, whole_channels
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.request import Request
from cpg_core.storage.records import Epoch
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.compiler import compiles
from cpg_core.training.dead_channels import ResetDead
from cpg_core.training.loop import Plan, decide_accuracy, diverged, train
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import score_rule_of


@dataclass(frozen=True)
class Trained:
    """A network after training, on the CPU.

    Attributes:
        weights: effective weights of the shared layers, float32.
        trainable: bool, which of them were trained at the end; the others kept their values.
        private: batch norm, biases and head by name.
        seconds: over all attempts.
        kept: the epoch that the network is of.
    """

    weights: Layers
    trainable: Layers
    private: Layers
    epochs: tuple[Epoch, ...]
    seconds: float
    kept: Epoch


def train_state(
    context: TaskContext, state: TaskState, plan: Plan, snapshots: Snapshots, *, trainable: Layers, learns_picks: bool
) -> Trained:
    """Train the network of a state by a plan.

    Args:
        context: the task.
        state: what the network begins with.
        plan: how it is trained.
        snapshots: where it is saved, and goes on from.
        trainable: bool, the weights that move; all others keep their value.
        learns_picks: learn beside them which weights of earlier tasks are used.
    """
    shared, settings = context.shared(state.budget_x), context.settings
    network = network_of_state(context, state)
    device = network.device
    rule = score_rule_of(settings.pick_train) if learns_picks else None
    optimizer = TaskOptimizer(
        network,
        trainable,
        _fixed_values(network, shared, context.older(shared) if learns_picks else None),
        settings.optimizer,
        scores=rule,
        channels=None if rule is None else channel_picks(context, state.budget_x, rule, trainable),
        compiled=compiles(settings.compute.compile, device, size(shared.owner)),
    )
    epochs, seconds, kept = train(network, optimizer, context.data, plan, snapshots, context.reporter, context.ranks)
    weights = {name: parameter.detach().cpu() for name, parameter in shared_parameters(network).items()}
    private = {name: value.detach().cpu() for name, value in private_tensors(network).items()}
    # The loss of the last step was computed before it: look at what the step left.
    if not all(bool(tensor.isfinite().all()) for tensor in (*weights.values(), *private.values())):
        raise diverged(plan, plan.epochs)
    moved = {name: mask.cpu() for name, mask in optimizer.trainable().items()}
    return Trained(weights, moved, private, epochs, seconds, kept)


def train_own(
    context: TaskContext, state: TaskState, plan: Plan, snapshots: Snapshots, *, learns_picks: bool
) -> Outcome:
    """Train what the task holds, and its picks if they are learned; the task then holds what is still trained."""
    units = units_of(context, state.budget_x)
    if units is not None:
        plan = replace(plan, after_step=ResetDead(units.to(device_of(context.settings.compute.device))))
    trained = train_state(context, state, plan, snapshots, trainable=state.own, learns_picks=learns_picks)
    pick = state.pick
    if learns_picks:
        older = context.older(context.shared(state.budget_x))
        # A pick whose weight is 0 changes nothing, so picks are read off the effective weights.
        pick = {name: older[name] & (weight != 0) for name, weight in trained.weights.items()}
        pick = pick if units is None else whole_channels(units, pick, older)
    return outcome_of(trained, state.budget_x, own=trained.trainable, pick=pick)


def outcome_of(trained: Trained, budget_x: float, *, own: Layers, pick: Layers) -> Outcome:
    """The outcome of a stage that trained: the task holds `own` (bool) and uses `pick` (bool) of the older weights."""
    value = {name: torch.where(own[name], weight, 0.0) for name, weight in trained.weights.items()}
    return Outcome(
        TaskState(budget_x, own, value, pick, trained.private),
        {"accuracy": trained.kept.accuracy, "train_accuracy": trained.kept.train_accuracy},
        trained.epochs,
        trained.seconds,
    )


def _fixed_values(network: Network, shared: Shared, scored: Layers | None) -> Layers:
    """What stays: older weights where a pick is learned, elsewhere what the network computes with now."""
    now = {name: parameter.detach().cpu() for name, parameter in shared_parameters(network).items()}
    if scored is None:
        return now
    return {name: torch.where(scored[name], shared.weight[name], value) for name, value in now.items()}


def network_of_state(context: TaskContext, state: TaskState) -> Network:
    """The network that computes with a state, on its device."""
    spec = context.run.spec
    return loaded_network(
        spec.backbone,
        width(spec.settings.base_width, state.budget_x),
        len(context.data.classes),
        context.objective,
        effective(context.shared(state.budget_x), state),
        state.private,
        device_of(context.settings.compute.device),
        context.settings.compute.precision,
    )


def accuracy_of_state(context: TaskContext, state: TaskState) -> float:
    """Accuracy of a state on the split that decides."""
    network, settings = network_of_state(context, state), context.settings
    return decide_accuracy(network, context.data, settings.goal_split, settings.eval_batch_size, context.ranks)


def plan_of(context: TaskContext, request: Request, epochs: int, lr: float, schedule: Schedule) -> Plan:
    """A plan with what all stages of a task have in common."""
    settings = context.settings
    return Plan(
        task=context.name,
        stage=request.stage,
        seed=(*context.run.spec.seed_words, context.name, request.number),
        epochs=epochs,
        batch_size=settings.batch_size,
        eval_batch_size=settings.eval_batch_size,
        split=settings.goal_split,
        lr=lr,
        schedule=schedule,
    )
