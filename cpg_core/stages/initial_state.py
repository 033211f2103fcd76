"""What a task begins with, at the width that the sequence has reached or has just grown to (section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.methods import Method
from cpg_core.model.layers import copy_leading_block
from cpg_core.model.network import Network, build, private_tensors, shared_parameters, width
from cpg_core.model.state import TaskState
from cpg_core.stages.context import TaskContext


def fresh_network(context: TaskContext, budget_x: float) -> Network:
    """The task's network at a budget, freshly initialised; always the same for one run, task and budget."""
    spec = context.run.spec
    at = width(spec.settings.base_width, budget_x)
    return build(spec.backbone, at, len(context.data.classes), spec.seed, "network", context.name, str(budget_x))


def first_state(context: TaskContext, budget_x: float, init: str) -> TaskState:
    """What a task begins with at a budget: all that is released, every older weight picked, its private parameters.

    Args:
        context: the task.
        budget_x: the width to begin at.
        init: `random`: released weights as in a fresh network; `zero`: as released. Task 1 is always random.
    """
    shared, start, method = context.shared(budget_x), context.started(budget_x), context.run.method
    network = fresh_network(context, budget_x)
    older = context.older(shared)
    grown_from = {name: weight.shape[0] for name, weight in context.before.weight.items()}
    own = {name: _claimed(mask, method, context.index, grown_from[name]) for name, mask in older.items()}
    renewed = init == "random" and method.claims in ("released", "column")
    fresh_start = context.index == 1 or method.begins == "fresh" or renewed
    fresh = shared_parameters(network)
    starts = {name: fresh[name].detach() if fresh_start else start.weight[name] for name in own}
    private = {name: value.clone() for name, value in private_tensors(network).items()}
    if context.previous is not None and context.settings.private_init == "previous":
        for name, value in context.previous.items():
            if not name.startswith("head."):
                copy_leading_block(private[name], value)
    return TaskState(
        budget_x=budget_x,
        own=own,
        value={name: torch.where(mask, starts[name], 0.0) for name, mask in own.items()},
        pick={name: mask & ~own[name] for name, mask in older.items()},
        private=private,
    )


def _claimed(older: Tensor, method: Method, index: int, grown_from: int) -> Tensor:
    """Where the task may train a layer's weights, which had `grown_from` output units before it."""
    if method.claims == "everything":
        return torch.ones_like(older)
    if method.claims == "column" and index > 1:
        # What leads into the new units from all units below; what would lead from them to older ones does not exist.
        own = torch.zeros_like(older)
        own[grown_from:] = True
        return own
    return torch.zeros_like(older) if method.claims == "first" and index > 1 else ~older
