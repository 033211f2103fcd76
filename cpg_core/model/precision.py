"""How exactly a network's products are computed: a pass in float32, in tf32, or in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether products of float32 matrices and convolutions on a GPU may round their inputs to 10 bits of mantissa."""
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before


def products(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """For a forward or backward pass: a precision of `Compute`, as far as it is a matter of the whole block."""
    return tf32(precision == "tf32") if device.type == "cuda" else nullcontext()


def activations(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """For a forward pass: what is computed in bfloat16 where that is asked for, from weights that stay float32."""
    if precision != "bfloat16":
        return nullcontext()
    # A cache of rounded weights would outlive the step that it was made in.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
