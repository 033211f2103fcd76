"""Whether `torch.compile` works here: found out by compiling something, since a compiler may be there and be broken."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.cache
def compile_error(device: str) -> str | None:
    """Why nothing can be compiled for `cpu` or `cuda`, in a line; None: it can. Tried once a process, in seconds."""

    def doubled(values: Tensor) -> Tensor:
        return values * 2

    try:
        torch.compile(doubled, fullgraph=True)(torch.ones(8, device=device))
    except Exception as error:  # a compiler that is missing, broken or too old, or its headers: whatever ails it
        said = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {said[0][:200]}"
    return None
