"""Who is told how a run goes, and who may ask it to stop. The null twin keeps the loops free of `if`s."""

from __future__ import annotations

from typing import Protocol

from cpg_core.data.reading import Progress
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


def reading_progress(reporter: Reporter, task: str) -> Progress:
    """Passes on how many images of a task are read, and stops between two of them."""

    def progress(done: int, total: int) -> None:
        if reporter.reading(task, done, total):
            raise Interrupted

    return progress
