"""Channels as they run through a network: which of them must go together, and which of them are constant.

A group of channels is what can only be left out at once: a channel of a convolution, with what batch norm, activations
and pooling make of it, with the channel that a residual sum adds it to, and with its filter in a depthwise convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of one tensor.

    groups: int64 `[C]`, by the numbers that `Groups` gave
    constant: float32 `[C]`, the value that the channel has for any image and at any place, else NaN
    """

    groups: Tensor
    constant: Tensor

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer that holds weights for each channel.

    name: of its module
    inputs, outputs: its channels; of a layer that is not dense the same groups
    dense: every output is a sum over all inputs, as in a convolution or linear layer
    """

    name: str
    module: nn.Module
    inputs: Channels
    outputs: Channels
    dense: bool

    @property
    def spreads_constants(self) -> bool:
        """Whether a constant input adds the same to an output at every place: there is no border of zeros."""
        module = self.module
        if not self.dense or isinstance(module, nn.Linear):
            return True
        assert isinstance(module, nn.Conv2d)
        return module.kernel_size == (1, 1) and module.padding in ((0, 0), "valid", "same")

    @property
    def foldable(self) -> Tensor:
        """Of which inputs the layer knows what they add: they are constant, bool `[inputs]`."""
        constant = self.inputs.constant
        return constant.isfinite() if self.spreads_constants else constant == 0

    @property
    def strength(self) -> Tensor:
        """Of a dense layer the sum of each filter over its places, float32 `[outputs, inputs]`."""
        return _by_place(self.module).sum(dim=2)

    @property
    def uses(self) -> Tensor:
        """Of a dense layer: whether an output uses an input, bool `[outputs, inputs]`."""
        return (_by_place(self.module) != 0).any(dim=2)


@dataclass(frozen=True, eq=False)
class Flow:
    """How channels run through a network.

    layers: in the order in which they compute
    fixed: bool `[groups]`, the groups that must stay, such as the outputs
    """

    layers: tuple[Layer, ...]
    fixed: Tensor


class Groups:
    """Gives numbers to groups of channels, and makes one of two."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._fixed: list[bool] = []

    def new(self, count: int, *, fixed: bool = False, constant: Tensor | None = None) -> Channels:
        """Channels that belong to no other yet."""
        first = len(self._parent)
        self._parent += range(first, first + count)
        self._fixed += [fixed] * count
        unknown = torch.full((count,), torch.nan) if constant is None else constant
        return Channels(torch.arange(first, first + count), unknown)

    def fix(self, channels: Channels) -> None:
        """Let these channels stay."""
        for number in channels.groups.tolist():
            self._fixed[number] = True

    def tie(self, one: Channels, other: Channels) -> None:
        """Let these channels stay or go together, each with the one in the same place."""
        for left, right in zip(one.groups.tolist(), other.groups.tolist(), strict=True):
            self._parent[self._root(left)] = self._root(right)

    def flow(self, layers: list[Layer]) -> Flow:
        """All of it, with one number a group."""
        roots = [self._root(number) for number in range(len(self._parent))]
        names = {root: place for place, root in enumerate(dict.fromkeys(roots))}
        number_of = torch.tensor([names[root] for root in roots], dtype=torch.int64)
        fixed = torch.zeros(len(names), dtype=torch.bool)
        fixed[number_of[torch.tensor(self._fixed, dtype=torch.bool)]] = True

        def renamed(channels: Channels) -> Channels:
            return replace(channels, groups=number_of[channels.groups])

        renumbered = (replace(one, inputs=renamed(one.inputs), outputs=renamed(one.outputs)) for one in layers)
        return Flow(tuple(renumbered), fixed)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


def _by_place(module: nn.Module) -> Tensor:
    """The weight of a dense layer, float32 `[outputs, inputs, places of a filter]`."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().reshape(*weight.shape[:2], -1)
