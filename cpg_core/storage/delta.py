"""What one task adds, as a file: its own weights, where they lie, its picks, its private parameters.

Positions are masks in the standard (row-major) order of a layer at the task's own width: `where` over what was
free before the task, `pick` over what was owned before it, so both mean the same whatever is learned later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.ownership import claim, owned_before, released
from cpg_core.model.state import Shared, TaskState
from cpg_core.storage.codecs import FIRST, Codec, Parts, codec_of
from cpg_core.storage.files import as_bytes, read_tensors, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten
from cpg_core.storage.packing import packed, unpacked

PROBE = "probe.logits"
PRIVATE = "private"
KINDS = ("norm", "bias", "head")
"""The groups of private tensors in a packed file; in one that is not, they are one group, `PRIVATE`."""


Stored = dict[str, Parts]
"""By layer, what its values or a mask of it are stored as."""


@dataclass(frozen=True)
class Delta:
    """A task as stored: values and masks are encoded, and decoded by `codec` where they are used.

    Attributes:
        shapes: of the shared layers at the task's width.
        values: `[own]` per layer, in the order of `where`.
        where: mask per layer over what was free.
        pick: mask per layer over what was owned before.
        private: batch norm, biases and head, rounded as they are stored, in the types of the network.
        probe: logits `[8, classes]` on the probe batch at freeze.
        codec: of values, masks and private tensors.
    """

    shapes: dict[str, torch.Size]
    values: Stored
    where: Stored
    pick: Stored
    private: Layers
    probe: Tensor
    codec: Codec = field(default=FIRST)

    def picked(self, name: str, places: Tensor) -> Tensor:
        """The picks of a layer, bool, where `places` are the weights that earlier tasks own.

        Decoded once, and kept a bit a weight: they are the same whatever is learned later, and every task is recalled
        after each later one.
        """
        if name not in self._picked:
            mask = self.codec.masks.decode(self.pick[name], places)
            self._picked[name] = torch.from_numpy(np.packbits(mask[places].numpy()))
        bits = np.unpackbits(self._picked[name].numpy(), count=int(places.sum())).view(bool)
        mask = torch.zeros_like(places)
        mask[places] = torch.from_numpy(bits)
        return mask

    @cached_property
    def _picked(self) -> Layers:
        return {}


def make(shared: Shared, state: TaskState, task: int, *, overwrites: bool, codec: Codec = FIRST) -> Delta:
    """The delta of `state` over the shared weights before it (at the same width), without its probe logits."""
    free = {name: _free(owner, overwrites) for name, owner in shared.owner.items()}
    before = {name: owned_before(owner, task) for name, owner in shared.owner.items()}
    return Delta(
        shapes={name: own.shape for name, own in state.own.items()},
        values={name: codec.values.encode(state.value[name][own], own) for name, own in state.own.items()},
        where={name: codec.masks.encode(own, free[name]) for name, own in state.own.items()},
        pick={name: codec.masks.encode(pick, before[name]) for name, pick in state.pick.items()},
        private=_as_computed(codec.rounded(state.private)),
        probe=torch.zeros(0),
        codec=codec,
    )


def apply(shared: Shared, delta: Delta, task: int, *, overwrites: bool) -> Shared:
    """The shared weights with the task's own added (`shared` already at the task's width)."""
    weight, owner = {}, {}
    for name, values in delta.values.items():
        own = delta.codec.masks.decode(delta.where[name], _free(shared.owner[name], overwrites))
        weight[name] = shared.weight[name].clone()
        weight[name][own] = delta.codec.values.decode(values, own)
        base = torch.zeros_like(shared.owner[name]) if overwrites else shared.owner[name]
        owner[name] = claim(base, own, task)
    return Shared(shared.budget_x, weight, owner)


def state_of(shared: Shared, delta: Delta, task: int, *, overwrites: bool) -> TaskState:
    """The state that a delta holds, over the shared weights before it (at the same width): the inverse of `make`."""
    after = apply(shared, delta, task, overwrites=overwrites)
    own = {name: owner == task for name, owner in after.owner.items()}
    before = {name: owned_before(owner, task) for name, owner in shared.owner.items()}
    return TaskState(
        budget_x=shared.budget_x,
        own=own,
        value={name: torch.where(own[name], weight, 0.0) for name, weight in after.weight.items()},
        pick={name: delta.picked(name, before[name]) for name in delta.pick},
        private=delta.private,
    )


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
            using[name] = (inner == task) | delta.picked(name, owned_before(inner, task))
    return using


def write(path: Path, delta: Delta) -> str:
    """Write the delta and return the file's SHA-256."""
    return write_tensors(path, entries(delta))


def entries(delta: Delta) -> Layers:
    """The tensors of the delta's file."""
    named = _named(delta)
    if delta.codec.name is not None:
        named = packed(named) | delta.codec.entries()
    return named | {PROBE: delta.probe}


def read(path: Path, expected_sha256: str) -> Delta:
    """A stored delta.

    Raises:
        Damaged: the file is missing or its bytes have changed.
        CpgError: this version cannot read its codec.
    """
    tensors = read_tensors(path, expected_sha256)
    try:
        codec = codec_of(tensors)
    except CpgError as error:
        raise CpgError(f"{path}: {error}") from error
    named = tensors if codec.name is None else unpacked(tensors)
    shapes, *private = unflatten(named, "shape", PRIVATE, *KINDS)
    values, where, pick = (
        _joined(unflatten(named, *(group + part for part in parts)))
        for group, parts in (("", codec.values.parts), ("where", codec.masks.parts), ("pick", codec.masks.parts))
    )
    return Delta(
        shapes={name: torch.Size(shape.tolist()) for name, shape in shapes.items()},
        values=values,
        where=where,
        pick=pick,
        private=_as_computed({name: tensor for group in private for name, tensor in group.items()}),
        probe=tensors[PROBE],
        codec=codec,
    )


def same(left: Delta, right: Delta) -> bool:
    """Whether two deltas have the same tensors, bit for bit."""
    one, other = ({**_named(delta), PROBE: delta.probe, **delta.codec.entries()} for delta in (left, right))
    return one.keys() == other.keys() and all(as_bytes(one[name]) == as_bytes(other[name]) for name in one)


def private_kind(name: str, shapes: Mapping[str, torch.Size]) -> str:
    """What a private tensor is, by its name in the network: of `KINDS`."""
    module, _, last = name.rpartition(".")
    if module == "head":
        return "head"
    return "bias" if last == "bias" and f"{module.removeprefix('backbone.')}.weight" in shapes else "norm"


def _named(delta: Delta) -> Layers:
    """All that a file holds of a task, `GROUP:NAME` each, but its probe logits."""
    codec = delta.codec
    groups: dict[str, Layers] = {"shape": {name: torch.tensor(shape) for name, shape in delta.shapes.items()}}
    for group, parts, stored in (
        ("", codec.values.parts, delta.values),
        ("where", codec.masks.parts, delta.where),
        ("pick", codec.masks.parts, delta.pick),
    ):
        for place, part in enumerate(parts):
            groups[group + part] = {name: tensors[place] for name, tensors in stored.items()}
    for name, tensor in codec.rounded(delta.private).items():
        kind = PRIVATE if codec.name is None else private_kind(name, delta.shapes)
        groups.setdefault(kind, {})[name] = tensor
    return flatten(groups)


def _joined(parts: tuple[Layers, ...]) -> Stored:
    return {name: tuple(part[name] for part in parts) for name in parts[0]}


def _as_computed(private: Layers) -> Layers:
    """Floating-point numbers as float32, which holds what they were rounded to."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in private.items()}


def _free(owner: Tensor, overwrites: bool) -> Tensor:
    return torch.ones_like(owner, dtype=torch.bool) if overwrites else released(owner)
