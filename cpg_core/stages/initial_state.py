"""What a task begins with, at the width that the sequence has reached or has just grown to (section 3)."""

from __future__ import annotations

import torch
from torch import nn

from cpg_core.model.layers import Layers, copy_leading_block, leading_block
from cpg_core.model.network import Network, build, private_tensors, shared_parameters, width
from cpg_core.model.state import TaskState
from cpg_core.seeds import seeded
from cpg_core.stages.channels import channel_units_of
from cpg_core.stages.context import TaskContext

LINEAR_STD = 0.01


def fresh_network(context: TaskContext, budget_x: float) -> Network:
    """The task's network at a budget, freshly initialised; always the same for one run, task and budget."""
    spec = context.run.spec
    at = width(spec.settings.base_width, budget_x)
    words = (*spec.seed_words, "network", context.name, str(budget_x))
    network = build(spec.backbone, at, len(context.data.classes), *words, objective=context.objective)
    if spec.settings.linear_init == "normal":
        with seeded(*words, "linear"):
            draw_linear(network)
    return network


def draw_linear(network: Network) -> None:
    """Draw the weights of linear layers and the head from N(0, 0.01), and set their biases to 0, in place."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=LINEAR_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def first_state(context: TaskContext, budget_x: float, released_init: str) -> TaskState:
    """What a task begins with at a budget: what it may train, every older weight picked, its private parameters.

    Args:
        context: the task.
        budget_x: the width to begin at.
        released_init: `random`: released weights as in a fresh network; `zero`: as released; `border`: as released
            in the leading block that the network was before this task, and random around it. Task 1 is always random,
            and so is a channel that was released whole, with its batch norm, where this task or an earlier one is
            pruned by channel: if all of it were 0 its ReLU would have no gradient.
    """
    method, index = context.method, context.index
    network = fresh_network(context, budget_x)
    older = context.older(context.shared(budget_x))
    units = {name: weight.shape[0] for name, weight in context.before.weight.items()}
    own = {name: method.trainable(mask, index, units[name]) for name, mask in older.items()}
    fresh = {name: parameter.detach() for name, parameter in shared_parameters(network).items()}
    start = fresh if method.fresh_init(index, released_init) else context.starting(budget_x).weight
    if released_init == "border" and start is not fresh:
        start = _bordered(start, fresh, context.before.weight)
    private = {name: value.clone() for name, value in private_tensors(network).items()}
    if context.previous is not None and context.settings.private_init == "previous":
        for name, value in context.previous.items():
            if not name.startswith("head."):
                copy_leading_block(private[name], value)
    if any(context.run.settings(task).prune.unit == "channel" for task in range(1, index + 1)):
        channels = channel_units_of(context, budget_x)
        found = context.starting(budget_x).weight
        free = ~channels.having({name: mask | (found[name] != 0) for name, mask in older.items()})
        start = {
            name: torch.where(channels.weights(name, free, weight.dim()), fresh[name], weight)
            for name, weight in start.items()
        }
        untrained = private_tensors(network)
        for name, places in {**channels.private, **channels.affine}.items():
            private[name] = torch.where(free[places], untrained[name], private[name])
    return TaskState(
        budget_x=budget_x,
        own=own,
        value={name: torch.where(mask, start[name], 0.0) for name, mask in own.items()},
        pick={name: mask & ~own[name] for name, mask in older.items()},
        private=private,
    )


def _bordered(start: Layers, fresh: Layers, before: Layers) -> Layers:
    """`start` in the leading block of the shapes `before`, `fresh` around it."""
    bordered = {name: weight.clone() for name, weight in fresh.items()}
    for name, weight in bordered.items():
        copy_leading_block(weight, leading_block(start[name], before[name].shape))
    return bordered
