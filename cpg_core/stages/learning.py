"""What each stage does: pick and train, check, grow, prune, learn the picks again (Algorithm 1)."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from cpg_core.config.settings import STEADY, Schedule
from cpg_core.data.batches import batch_count
from cpg_core.machine import device_of
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, empty, private_tensors, shared_parameters, width
from cpg_core.model.ownership import count, size
from cpg_core.model.state import Shared, TaskState, effective, install
from cpg_core.stages.context import Fields, Outcome, Place, TaskContext, read_record
from cpg_core.stages.initial_state import first_state
from cpg_core.stages.next_stage import Request
from cpg_core.stages.prune_schedule import Release
from cpg_core.training.ewc import springs
from cpg_core.training.loop import Plan, decide_accuracy, diverged, train
from cpg_core.training.lwf import answers
from cpg_core.training.optimizer import TaskOptimizer, compiles
from cpg_core.training.step import Penalty, no_penalty


def pick_train(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Learn the picks and the released weights together; after a growth, from the re-initialised state."""
    config = context.settings.pick_train
    tunes = context.run.method.begins == "earlier" and context.index > 1
    lr = context.settings.finetune.lr if tunes else config.lr
    state = state or first_state(context, request.budget_x, context.settings.released_init)
    learns_picks = _learns_picks(context)
    plan = replace(
        plan_of(context, request, config.epochs, lr, config.schedule),
        score_lr=config.score_lr,
        score_schedule=config.score_schedule,
        freeze_picks_epoch=config.score_freeze_epoch if learns_picks and count(state.own) else None,
        penalty=_penalty(context, state),
    )
    return trained(context, state, plan, place, learns_picks=learns_picks)


def check(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Compare accuracy with the goal, and training accuracy with its gate."""
    assert state is not None and request.source is not None
    began = time.monotonic()
    trained = read_record(place.folder.parent, request.source)
    accuracy = _accuracy(context, state)
    gate = _gate(trained.epochs[-1].train_accuracy, context.settings.check.min_train_accuracy)
    fields: Fields = {"accuracy": accuracy, "train_accuracy": trained.train_accuracy, "gate": gate}
    fields["met"] = _meets(context, accuracy, gate)
    return Outcome(fields=fields, seconds=time.monotonic() - began)


def grow(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Widen every layer to the new budget; what is released starts from fresh weights, and the picks anew."""
    began = time.monotonic()
    return Outcome(first_state(context, request.budget_x, "random"), seconds=time.monotonic() - began)


def prune(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Release the smallest of the task's own weights, layer by layer, up to the target; the picks stand still."""
    assert state is not None and request.target is not None
    config, shot = context.settings.prune, context.settings.one_shot
    older = context.older(context.shared(request.budget_x))
    available = {name: int((~mask).sum()) for name, mask in older.items()}
    batches = batch_count(len(context.data.train), context.settings.batch_size, context.ranks.share.of)
    if context.run.method.prune == "one_shot":
        release = Release(available, start=0.0, target=request.target, steps=1, every=1)
        plan = plan_of(context, request, shot.epochs, shot.lr, STEADY)
    else:
        reached = 1 - count(state.own) / max(sum(available.values()), 1)
        steps = config.prune_epochs * batches
        release = Release(available, start=reached, target=request.target, steps=steps, every=config.every_steps)
        plan = plan_of(context, request, config.epochs, config.lr, config.schedule)
    outcome = trained(context, state, replace(plan, before_step=release), place, learns_picks=False)
    last = outcome.epochs[-1]
    gate = _gate(last.train_accuracy, config.min_train_accuracy)
    fields = {**outcome.fields, "met": _meets(context, last.accuracy, gate), "gate": gate}
    return replace(outcome, fields=fields)


def retrain(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:
    """Learn the picks again from the start, beside the compact model's own weights; kept only if better."""
    assert state is not None
    config = context.settings.retrain
    before = _accuracy(context, state)
    plan = plan_of(context, request, config.epochs, config.lr, STEADY)
    plan = replace(plan, score_lr=config.score_lr, patience=config.patience)
    shared = context.shared(state.budget_x)
    all_picked = TaskState(state.budget_x, state.own, state.value, context.older(shared), state.private)
    outcome = trained(context, all_picked, plan, place, learns_picks=True)
    after = max(epoch.accuracy for epoch in outcome.epochs)
    return replace(outcome, fields={**outcome.fields, "accuracy": after, "kept": after > before})


def _penalty(context: TaskContext, state: TaskState) -> Penalty:
    """What reminds a task that trains over the weights of earlier ones of these."""
    reminds = context.run.method.reminds
    if context.index == 1 or reminds == "nothing":
        return no_penalty
    network = _network_of(context, state)
    return springs(context, next(network.parameters()).device) if reminds == "springs" else answers(context, network)


def _accuracy(context: TaskContext, state: TaskState) -> float:
    """Accuracy of a state on the split that decides."""
    network = _network_of(context, state)
    settings = context.settings
    return decide_accuracy(network, context.data, settings.goal_split, settings.eval_batch_size, context.ranks)


def _network_of(context: TaskContext, state: TaskState) -> Network:
    """The network that computes with a state, on its device."""
    spec, compute = context.run.spec, context.settings.compute
    network = empty(spec.backbone, width(spec.settings.base_width, state.budget_x), len(context.data.classes))
    install(network, effective(context.shared(state.budget_x), state), state.private)
    return network.place(device_of(compute.device), compute.precision)


def trained(
    context: TaskContext, state: TaskState, plan: Plan, place: Place, *, learns_picks: bool, moves: Layers | None = None
) -> Outcome:
    """Train a state by a plan: own weights move, picks too if they are learned, and the rest is held.

    With `moves` (bool) only those weights move, at first, and the task holds all that are not 0 in the end.
    """
    shared, settings = context.shared(state.budget_x), context.settings
    older = context.older(shared)
    network = _network_of(context, state)
    device = next(network.parameters()).device
    optimizer = TaskOptimizer(
        network,
        state.own if moves is None else moves,
        _fixed_values(network, shared, older if learns_picks else None),
        settings.optimizer,
        scored=learns_picks,
        score_init=settings.pick_train.score_init,
        score_threshold=settings.pick_train.score_threshold,
        compiled=compiles(settings.compute.compile, device, size(shared.owner)),
    )
    epochs, seconds = train(network, optimizer, context.data, plan, place.snapshots, context.reporter, context.ranks)
    weights = {name: parameter.detach().cpu() for name, parameter in shared_parameters(network).items()}
    private = {name: value.detach().cpu() for name, value in private_tensors(network).items()}
    _finite(plan, weights | private)
    if moves is None:
        own = {name: mask.cpu() for name, mask in optimizer.trainable().items()}
    else:
        own = {name: weight != 0 for name, weight in weights.items()}
    after = TaskState(
        budget_x=state.budget_x,
        own=own,
        value={name: torch.where(own[name], weight, 0.0) for name, weight in weights.items()},
        # A pick whose weight is 0 changes nothing, so picks are read off the effective weights.
        pick={name: older[name] & (weight != 0) for name, weight in weights.items()} if learns_picks else state.pick,
        private=private,
    )
    fields: Fields = {"accuracy": epochs[-1].accuracy, "train_accuracy": epochs[-1].train_accuracy}
    return Outcome(after, fields, epochs, seconds)


def _fixed_values(network: Network, shared: Shared, scored: Layers | None) -> Layers:
    """What must not move: older weights where a pick is learned, elsewhere what the network computes with now."""
    now = {name: parameter.detach().cpu() for name, parameter in shared_parameters(network).items()}
    if scored is None:
        return now
    return {name: torch.where(scored[name], shared.weight[name], value) for name, value in now.items()}


def _finite(plan: Plan, tensors: Layers) -> None:
    """The loss of the last step was computed before it: look at what the step left."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise diverged(plan, plan.epochs)


def _learns_picks(context: TaskContext) -> bool:
    return context.run.method.picks == "learned" and context.index > 1


def _gate(train_accuracy: float, least: float | None) -> bool | None:
    return None if least is None else train_accuracy > least


def _meets(context: TaskContext, accuracy: float, gate: bool | None) -> bool:
    return accuracy >= context.goal - context.settings.check.tolerance and gate is not False


def plan_of(context: TaskContext, request: Request, epochs: int, lr: float, schedule: Schedule) -> Plan:
    """A plan with what all stages of a task have in common."""
    settings = context.settings
    return Plan(
        task=context.name,
        stage=request.stage,
        seed=(context.run.spec.seed, context.name, request.number),
        epochs=epochs,
        batch_size=settings.batch_size,
        eval_batch_size=settings.eval_batch_size,
        split=settings.goal_split,
        lr=lr,
        schedule=schedule,
    )
