"""Shared layers by name, and the leading blocks in which a narrow one lies in a wider one."""

from __future__ import annotations

import torch
from torch import Tensor

Layers = dict[str, Tensor]
"""Tensors of the shared layers by name (`0.weight`), in the order of the backbone."""


def copy_leading_block(target: Tensor, source: Tensor) -> None:
    """Write `source` into the leading block of `target` (same number of dimensions, no smaller in any)."""
    with torch.no_grad():
        target[tuple(slice(size) for size in source.shape)].copy_(source)


def leading_block(wide: Tensor, shape: torch.Size) -> Tensor:
    """The leading block of that shape, as a view."""
    return wide[tuple(slice(size) for size in shape)]
