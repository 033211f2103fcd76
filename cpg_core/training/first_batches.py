"""Measures the first batches that are trained on, for whoever wants to know how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable

from cpg_core.training.reporter import Silent

SKIPPED = 5
"""Batches in which libraries set themselves up, kernels are compiled and graphs recorded."""
MEASURED = 20


class FirstBatches(Silent):
    """A reporter that tells once how many seconds a batch takes.

    Args:
        clock: seconds, once all work that was sent to the device is done.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tell: Callable[[float], None] | None = None
        self._told = False
        self._batches = 0
        self._began: float | None = None  # when the batches that are counted began; None: they are skipped

    def measure(self, tell: Callable[[float], None]) -> None:
        """Tell the seconds of a batch, of those that come next; nothing where it was told before."""
        self._tell = tell
        self._restart()

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
        """Batches are counted from the beginning of a stage."""
        self._restart()

    def batch_done(self, share: float) -> None:
        """Counted, and at two of them the clock is looked at; the batches of an epoch that is shorter have to do."""
        if self._told or self._tell is None:
            return
        self._batches += 1
        if self._began is None:
            if self._batches >= SKIPPED and share < 1:  # between two epochs lies an evaluation
                self._began, self._batches = self._clock(), 0
        elif self._batches == MEASURED or share >= 1:
            self._told = True
            self._tell((self._clock() - self._began) / self._batches)

    def _restart(self) -> None:
        self._batches, self._began = 0, None
