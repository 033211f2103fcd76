"""Who is told how a run goes, and who may ask it to stop. The null twin keeps the loops free of `if`s."""

from __future__ import annotations

from typing import Protocol

from cpg_core.data.reading.reading import Progress
from cpg_core.storage.records import Epoch, StageRecord, TaskRecord


class Interrupted(BaseException):
    """Training was asked to stop, and did so at a batch boundary with its state saved."""


class Reporter(Protocol):
    """Told what happens, as it happens; must not change anything."""

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """A stage starts; `epochs` is 0 for one that does not train."""

    def reading(self, task: str, done: int, total: int) -> bool:
        """So many of a task's images are read; from 0 for each part of them. Whether to stop before the next."""
        ...

    def batch_done(self, share: float) -> None:
        """A batch was trained on; `share` of the epoch, in [0, 1], is over."""

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:
        """An epoch is over."""

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """A stage is finished, or was found finished on disk (`reused`)."""

    def task_done(self, record: TaskRecord) -> None:
        """A task is frozen."""

    def note(self, message: str) -> None:
        """Something that a person should know."""

    def stop_requested(self) -> bool:
        """Whether to stop at the next batch boundary."""
        ...


class Silent:
    """Tells nobody and never stops."""

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """Nothing."""

    def reading(self, task: str, done: int, total: int) -> bool:  # noqa: ARG002  (as of a Reporter)
        """Nothing, and never stops."""
        return False

    def batch_done(self, share: float) -> None:
        """Nothing."""

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:
        """Nothing."""

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """Nothing."""

    def task_done(self, record: TaskRecord) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def stop_requested(self) -> bool:
        """Never."""
        return False


class Several:
    """Tells each of several reporters; stops when one of them asks to."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.stage_begins(task, stage, epochs)

    def reading(self, task: str, done: int, total: int) -> bool:
        """Tell all; whether any of them asks to stop."""
        stops = [reporter.reading(task, done, total) for reporter in self._reporters]
        return any(stops)

    def batch_done(self, share: float) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.batch_done(share)

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.epoch_done(task, stage, epoch)

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.stage_done(task, record, seconds, reused=reused)

    def task_done(self, record: TaskRecord) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.task_done(record)

    def note(self, message: str) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.note(message)

    def stop_requested(self) -> bool:
        """Whether any of them asks to."""
        return any(reporter.stop_requested() for reporter in self._reporters)


def reading_progress(reporter: Reporter, task: str) -> Progress:
    """Passes on how many images of a task are read, and stops between two of them."""

    def progress(done: int, total: int) -> None:
        if reporter.reading(task, done, total):
            raise Interrupted

    return progress
