"""CUDA graphs: what is launched for one step is recorded once and replayed, so that the processor is no bottleneck."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UPS = 3
"""Calls that run as they are first: libraries set themselves up in them, and kernels are compiled."""


class Captured:
    """A function of static tensors, run as it is for its first calls and replayed from a recording after that.

    It must read its input from tensors that are always the same, leave its output in such, not wait for the device,
    and do the same work at each call. Whatever else changes those tensors between two calls counts, as it would
    without a recording. On the processor there is nothing to record: it is always run as it is.

    Args:
        run: the function.
        device: where it computes.
    """

    def __init__(self, run: Callable[[], None], device: torch.device) -> None:
        self._run, self._calls = run, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        """Run or replay."""
        if self._stream is None:
            self._run()
        elif self._graph is not None:
            self._graph.replay()
        elif self._calls < WARM_UPS:
            self._calls += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._run()
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._run()
            self._graph.replay()
