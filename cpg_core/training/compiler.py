"""How the optimizer's passes run: through `torch.compile`, or eagerly in pieces.

Whether it works here is found out by compiling, since a compiler may be there and be broken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from cpg_core.errors import CpgError
from cpg_core.training.update_rules import Rule, adam, picks_pass, sgd, weights_pass

COMPILE_FROM = 1_000_000
EAGER_CHUNK = 1 << 16
"""Weights a trip in the eager pass: small enough for its temporaries to stay in the processor's cache."""
WEIGHTS = 8


@functools.cache
def compile_error(device: str) -> str | None:
    """Why the optimizer's passes cannot be compiled for `cpu` or `cuda`, in a line; None: they can.

    Tried once a process, in seconds, which the first step of a compiled pass would take otherwise. Nothing simpler
    will do: under some instruction sets a doubling compiles and these passes do not.
    """

    def values(count: int = WEIGHTS) -> Tensor:
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


def compiles(choice: str, device: torch.device, shared_weights: int) -> bool:
    """Whether the pass is compiled: as told, or by size where `torch.compile` works.

    Raises:
        CpgError: it is told to be, and `torch.compile` does not work.
    """
    if choice == "never" or (choice == "auto" and shared_weights < COMPILE_FROM):
        return False
    why = compile_error(device.type)
    if why is not None and choice == "always":
        raise CpgError(f"compute.compile is always, and torch.compile does not work here: {why}; give auto or never")
    return why is None


def runner(kernel: Callable[..., None], compiled: bool) -> Callable[..., None]:
    """The pass as one compiled kernel for every layer size, or eagerly in chunks that fit the cache."""
    if compiled:
        return torch.compile(kernel, dynamic=True, fullgraph=True)

    def in_chunks(rule: Rule, value: Tensor, *args: object) -> None:
        if value.is_cuda or len(value) <= EAGER_CHUNK:
            kernel(rule, value, *args)
            return
        for start in range(0, len(value), EAGER_CHUNK):
            piece = slice(start, start + EAGER_CHUNK)
            rest = (arg[piece] if isinstance(arg, Tensor) and len(arg) == len(value) else arg for arg in args)
            kernel(rule, value[piece], *rest)

    return in_chunks
