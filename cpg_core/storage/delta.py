"""What one task adds, as a file: its own weights, where they lie, its picks, its private parameters.

Positions are masks in the standard (row-major) order of a layer at the task's own width: `where` over what was
free before the task, `pick` over what was owned before it, so both mean the same whatever is learned later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.ownership import claim, owned_before, released
from cpg_core.model.state import Shared, TaskState
from cpg_core.storage.codecs import FIRST, Codec, codec_of
from cpg_core.storage.files import read_tensors, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten

PROBE = "probe.logits"


@dataclass(frozen=True)
class Delta:
    """A task as stored: values and masks are encoded, and decoded by `codec` where they are used.

    Attributes:
        shapes: of the shared layers at the task's width.
        values: `[own]` per layer, in the order of `where`.
        where: mask per layer over what was free.
        pick: mask per layer over what was owned before.
        private: batch norm, biases and head.
        probe: logits `[8, classes]` on the probe batch at freeze.
        codec: of values and masks.
    """

    shapes: dict[str, torch.Size]
    values: Layers
    where: Layers
    pick: Layers
    private: Layers
    probe: Tensor
    codec: Codec = field(default=FIRST)


def make(shared: Shared, state: TaskState, task: int, *, overwrites: bool) -> Delta:
    """The delta of `state` over the shared weights before it (at the same width), without its probe logits."""
    free = {name: _free(owner, overwrites) for name, owner in shared.owner.items()}
    before = {name: owned_before(owner, task) for name, owner in shared.owner.items()}
    return Delta(
        shapes={name: own.shape for name, own in state.own.items()},
        values={name: FIRST.values.encode(state.value[name][own]) for name, own in state.own.items()},
        where={name: FIRST.masks.encode(own[free[name]]) for name, own in state.own.items()},
        pick={name: FIRST.masks.encode(pick[before[name]]) for name, pick in state.pick.items()},
        private=state.private,
        probe=torch.zeros(0),
    )


def apply(shared: Shared, delta: Delta, task: int, *, overwrites: bool) -> Shared:
    """The shared weights with the task's own added (`shared` already at the task's width)."""
    weight, owner = {}, {}
    for name, values in delta.values.items():
        free = _free(shared.owner[name], overwrites)
        own = _scatter(delta.codec, free, delta.where[name])
        weight[name] = shared.weight[name].clone()
        weight[name][own] = delta.codec.values.decode(values)
        base = torch.zeros_like(shared.owner[name]) if overwrites else shared.owner[name]
        owner[name] = claim(base, own, task)
    return Shared(shared.budget_x, weight, owner)


def recalled(shared: Shared, delta: Delta, task: int, *, overwrites: bool) -> Layers:
    """The effective weights of a frozen task, from the current shared weights of any later task.

    Only what the task itself or an earlier one owns is read, in the leading slice of the task's own width.
    """
    using = used(shared.owner, delta, task, overwrites=overwrites)
    weight = {name: leading_block(shared.weight[name], shape) for name, shape in delta.shapes.items()}
    return {name: torch.where(using[name], weight[name], 0.0) for name in using}


def used(owner: Layers, delta: Delta, task: int, *, overwrites: bool) -> Layers:
    """Which weights a frozen task computes with: bool, of the task's own width."""
    using = {}
    for name, shape in delta.shapes.items():
        inner = leading_block(owner[name], shape)
        if overwrites:
            using[name] = ~released(inner)
        else:
            using[name] = (inner == task) | _scatter(delta.codec, owned_before(inner, task), delta.pick[name])
    return using


def write(path: Path, delta: Delta) -> str:
    """Write the delta and return the file's SHA-256."""
    shapes = {name: torch.tensor(shape) for name, shape in delta.shapes.items()}
    groups = {"shape": shapes, "value": delta.values, "where": delta.where, "pick": delta.pick}
    return write_tensors(path, flatten({**groups, "private": delta.private}) | {PROBE: delta.probe})


def read(path: Path, expected_sha256: str) -> Delta:
    """A stored delta.

    Raises:
        Damaged: the file is missing or its bytes have changed.
        CpgError: this version cannot read its codec.
    """
    tensors = read_tensors(path, expected_sha256)
    shapes, values, where, pick, private = unflatten(tensors, "shape", "value", "where", "pick", "private")
    try:
        codec = codec_of(tensors)
    except CpgError as error:
        raise CpgError(f"{path}: {error}") from error
    return Delta(
        shapes={name: torch.Size(shape.tolist()) for name, shape in shapes.items()},
        values=values,
        where=where,
        pick=pick,
        private=private,
        probe=tensors[PROBE],
        codec=codec,
    )


def _free(owner: Tensor, overwrites: bool) -> Tensor:
    return torch.ones_like(owner, dtype=torch.bool) if overwrites else released(owner)


def _scatter(codec: Codec, places: Tensor, stored: Tensor) -> Tensor:
    """A stored mask, which is over `places` (bool, a layer's shape), in the layer's shape; false elsewhere."""
    mask = torch.zeros_like(places)
    mask[places] = codec.masks.decode(stored, int(places.sum()))
    return mask
