"""Shared layers by name, and the leading corners in which a narrow one lies in a wider one."""

from __future__ import annotations

import torch
from torch import Tensor

Layers = dict[str, Tensor]
"""Tensors of the shared layers by name (`0.weight`), in the order of the backbone."""


def copy_corner(target: Tensor, source: Tensor) -> None:
    """Write `source` into the leading corner of `target` (same number of dimensions, no smaller in any)."""
    with torch.no_grad():
        target[tuple(slice(size) for size in source.shape)].copy_(source)


def corner(wide: Tensor, shape: torch.Size) -> Tensor:
    """The leading corner of that shape, as a view."""
    return wide[tuple(slice(size) for size in shape)]
