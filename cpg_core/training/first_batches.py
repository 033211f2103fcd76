"""Measures the first batches that are trained on, for whoever wants to know how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable

from cpg_core.storage.records import Epoch, StageRecord, TaskRecord
from cpg_core.training.reporter import Reporter

SKIPPED = 5
"""Batches in which libraries set themselves up, kernels are compiled and graphs recorded."""
MEASURED = 20


class FirstBatches:
    """A reporter that passes everything on, and tells once how many seconds a batch takes.

    Args:
        reporter: who is told what happens.
        clock: seconds, once all work that was sent to the device is done.
    """

    def __init__(self, reporter: Reporter, clock: Callable[[], float]) -> None:
        self._reporter, self._clock = reporter, clock
        self._tell: Callable[[float], None] | None = None
        self._told = False
        self._batches, self._began = 0, 0.0

    def measure(self, tell: Callable[[float], None]) -> None:
        """Tell the seconds of a batch, of those that come next; nothing where it was told before."""
        self._tell, self._batches = tell, 0

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """Batches are counted from the beginning of a stage."""
        self._batches = 0
        self._reporter.stage_begins(task, stage, epochs)

    def reading(self, task: str, done: int, total: int) -> bool:
        """Passed on."""
        return self._reporter.reading(task, done, total)

    def batch_done(self, share: float) -> None:
        """Counted, and at two of them the clock is looked at."""
        self._reporter.batch_done(share)
        if self._told or self._tell is None:
            return
        self._batches += 1
        if self._batches == SKIPPED:
            self._began = self._clock()
        elif self._batches == SKIPPED + MEASURED:
            self._end(MEASURED)

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:
        """The batches of an epoch that is shorter have to do."""
        if not self._told and self._tell is not None and self._batches > SKIPPED:
            self._end(self._batches - SKIPPED)
        self._reporter.epoch_done(task, stage, epoch)

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """Passed on."""
        self._reporter.stage_done(task, record, seconds, reused=reused)

    def task_done(self, record: TaskRecord) -> None:
        """Passed on."""
        self._reporter.task_done(record)

    def note(self, message: str) -> None:
        """Passed on."""
        self._reporter.note(message)

    def stop_requested(self) -> bool:
        """Passed on."""
        return self._reporter.stop_requested()

    def _end(self, batches: int) -> None:
        assert self._tell is not None
        self._told = True
        self._tell((self._clock() - self._began) / batches)
