"""Whether `torch.compile` works here: found out by compiling, since a compiler may be there and be broken."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from cpg_core.training.update_rules import adam, picks_pass, sgd, weights_pass

WEIGHTS = 8


@functools.cache
def compile_error(device: str) -> str | None:
    """Why the optimizer's passes cannot be compiled for `cpu` or `cuda`, in a line; None: they can.

    Tried once a process, in seconds, which the first step of a compiled pass would take otherwise. Nothing simpler
    will do: under some instruction sets a doubling compiles and these passes do not.
    """

    def values(count: int = WEIGHTS) -> torch.Tensor:
        return torch.zeros(count, device=device)

    kernels: list[Callable[..., None]] = [weights_pass, picks_pass]
    try:
        weights, picks = (torch.compile(kernel, dynamic=True, fullgraph=True) for kernel in kernels)
        weights(sgd, *(values() for _ in range(4)), None, values(3))
        picks(sgd, *(values() for _ in range(6)), values(3), values(7), adam)
    except Exception as error:  # a compiler that is missing, broken or too old, or its headers: whatever ails it
        said = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {said[0][:200]}"
    return None
