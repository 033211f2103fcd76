"""Backbones: a file each, found by its name. Adding one means adding one file.

A backbone file defines

- `INPUT`: the `Input` that it takes;
- `build(width)`: a plain `nn.Module` from `[N, channels, size, size]` to features `[N, out_features]`, with an
  `out_features` attribute. Channels scale with `width`, and a wider network has the narrower one in its leading
  slices, so that growth can copy the old block into the leading corner.

What tasks share are the weights of its convolutions and linear layers; all else is private to each task.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol, cast

from torch import nn

from cpg_core.config.suggestions import unknown


@dataclass(frozen=True)
class Input:
    """What images a backbone takes: `[N, channels, size, size]`."""

    channels: int
    size: int


class Backbone(Protocol):
    """What a backbone file defines."""

    INPUT: Input

    def build(self, width: float) -> nn.Module:
        """The network with its channel counts times `width`."""


def names() -> list[str]:
    """The backbones there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in names():
        raise unknown("backbone", name, names())
    return cast(Backbone, importlib.import_module(f"{__name__}.{name}"))


def channels(count: int, width: float) -> int:
    """A channel count at a width: rounded, and at least 1."""
    return max(1, round(count * width))
