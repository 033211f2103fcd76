"""Measures the first batches that are trained on, for whoever wants to know how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable

from cpg_core.storage.records import Epoch
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
        self._batches, self._began = 0, 0.0

    def measure(self, tell: Callable[[float], None]) -> None:
        """Tell the seconds of a batch, of those that come next; nothing where it was told before."""
        self._tell, self._batches = tell, 0

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
        """Batches are counted from the beginning of a stage."""
        self._batches = 0

    def batch_done(self, share: float) -> None:  # noqa: ARG002
        """Counted, and at two of them the clock is looked at."""
        if self._told or self._tell is None:
            return
        self._batches += 1
        if self._batches == SKIPPED:
            self._began = self._clock()
        elif self._batches == SKIPPED + MEASURED:
            self._end(MEASURED)

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:  # noqa: ARG002
        """The batches of an epoch that is shorter have to do."""
        if not self._told and self._tell is not None and self._batches > SKIPPED:
            self._end(self._batches - SKIPPED)

    def _end(self, batches: int) -> None:
        assert self._tell is not None
        self._told = True
        self._tell((self._clock() - self._began) / batches)
