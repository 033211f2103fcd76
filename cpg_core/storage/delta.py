"""What one task adds, as a file: its own weights, where they lie, its picks, its private parameters.

Positions are bit sets in the standard (row-major) order of a layer at the task's own width: `where` over what was
free before the task, `pick` over what was owned before it, so both mean the same whatever is learned later.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.ownership import claim, owned_before, released
from cpg_core.model.state import Shared, TaskState
from cpg_core.storage.files import read_tensors, write_tensors

PROBE = "probe.logits"


@dataclass(frozen=True)
class Delta:
    """A task as stored.

    Attributes:
        shapes: of the shared layers at the task's width.
        values: float32 `[own]` per layer, in the order of `where`.
        where: bit set per layer over what was free, compressed uint8.
        pick: bit set per layer over what was owned before, compressed uint8.
        private: batch norm, biases and head.
        probe: logits `[8, classes]` on the probe batch at freeze.
    """

    shapes: dict[str, torch.Size]
    values: Layers
    where: Layers
    pick: Layers
    private: Layers
    probe: Tensor


def make(shared: Shared, state: TaskState, task: int, *, in_place: bool) -> Delta:
    """The delta of `state` over the shared weights before it (at the same width), without its probe logits."""
    free = {name: _free(owner, in_place) for name, owner in shared.owner.items()}
    before = {name: owned_before(owner, task) for name, owner in shared.owner.items()}
    return Delta(
        shapes={name: own.shape for name, own in state.own.items()},
        values={name: state.value[name][own] for name, own in state.own.items()},
        where={name: _pack(own[free[name]]) for name, own in state.own.items()},
        pick={name: _pack(pick[before[name]]) for name, pick in state.pick.items()},
        private=state.private,
        probe=torch.zeros(0),
    )


def apply(shared: Shared, delta: Delta, task: int, *, in_place: bool) -> Shared:
    """The shared weights with the task's own added (`shared` already at the task's width)."""
    weight, owner = {}, {}
    for name, values in delta.values.items():
        free = _free(shared.owner[name], in_place)
        own = torch.zeros_like(free).masked_scatter_(free, _unpack(delta.where[name]))
        weight[name] = shared.weight[name].clone()
        weight[name][own] = values
        base = torch.zeros_like(shared.owner[name]) if in_place else shared.owner[name]
        owner[name] = claim(base, own, task)
    return Shared(shared.budget_x, weight, owner)


def recalled(shared: Shared, delta: Delta, task: int, *, in_place: bool) -> Layers:
    """The effective weights of a frozen task, from the current shared weights of any later task.

    Only what the task itself or an earlier one owns is read, in the leading slice of the task's own width.
    """
    using = used(shared.owner, delta, task, in_place=in_place)
    weight = {name: leading_block(shared.weight[name], shape) for name, shape in delta.shapes.items()}
    return {name: torch.where(using[name], weight[name], 0.0) for name in using}


def used(owner: Layers, delta: Delta, task: int, *, in_place: bool) -> Layers:
    """Which weights a frozen task computes with: bool, of the task's own width."""
    using = {}
    for name, shape in delta.shapes.items():
        held = leading_block(owner[name], shape)
        if in_place:
            using[name] = ~released(held)
        else:
            before = owned_before(held, task)
            using[name] = (held == task).masked_scatter_(before, _unpack(delta.pick[name]))
    return using


def write(path: Path, delta: Delta) -> str:
    """Write the delta and return the file's SHA-256."""
    groups = {"value": delta.values, "where": delta.where, "pick": delta.pick, "private": delta.private}
    tensors = {f"{group}:{name}": tensor for group, layers in groups.items() for name, tensor in layers.items()}
    shapes = {f"shape:{name}": torch.tensor(shape) for name, shape in delta.shapes.items()}
    return write_tensors(path, tensors | shapes | {PROBE: delta.probe})


def read(path: Path, expected_sha256: str) -> Delta:
    """A stored delta.

    Raises:
        Damaged: the file is missing or its bytes have changed.
    """
    tensors = read_tensors(path, expected_sha256)
    groups: dict[str, Layers] = {group: {} for group in ("shape", "value", "where", "pick", "private")}
    for key, tensor in tensors.items():
        group, separator, name = key.partition(":")
        if separator:
            groups[group][name] = tensor
    return Delta(
        shapes={name: torch.Size(shape.tolist()) for name, shape in groups["shape"].items()},
        values=groups["value"],
        where=groups["where"],
        pick=groups["pick"],
        private=groups["private"],
        probe=tensors[PROBE],
    )


def _free(owner: Tensor, in_place: bool) -> Tensor:
    return torch.ones_like(owner, dtype=torch.bool) if in_place else released(owner)


def _pack(bits: Tensor) -> Tensor:
    packed = np.packbits(bits.numpy())
    return torch.frombuffer(bytearray(zlib.compress(packed.tobytes(), 6)), dtype=torch.uint8)


def _unpack(packed: Tensor) -> Tensor:
    """The bits, and up to seven more that filled the last byte."""
    raw = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(raw).view(bool))
