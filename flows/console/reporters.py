"""A reporter that writes lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from cpg_core.storage.records import StageRecord, TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Reporter, Silent
from flows.console.signals import Stop
from flows.console.stage_labels import check_result, stage_label

Listen = Callable[[Run, Stop], AbstractContextManager[Reporter]]
"""Gives a run its reporter, for as long as it is learned."""

MANY_IMAGES = 5000
"""Read without a line that says so."""


def reading_line(task: str, done: int, total: int) -> str | None:
    """`images of fish: 5,000 of 16,000 read`, from 0 on; None in between, and of a part that is small."""
    return f"images of {task}: {done:,} of {total:,} read" if total >= MANY_IMAGES and done % MANY_IMAGES == 0 else None


class Lines(Silent):
    """A line a stage and one a task; none an epoch."""

    def __init__(self, run: Run, stop: Stop, write: Callable[[str], None]) -> None:
        self._run, self._spec = run, run.spec
        self._stop = stop
        self._write = write
        self._before: StageRecord | None = None

    def reading(self, task: str, done: int, total: int) -> bool:
        """A line for many images; nothing of a part that is small."""
        if line := reading_line(task, done, total):
            self._write(line)
        return self._stop.requested

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """`pick-train fish x1.5: 0.781, 12.1 s`."""
        least = self._run.required_accuracy(task)
        what = check_result(task, record, least) or stage_label(task, record, self._before)
        accuracy = "" if record.accuracy is None or record.stage == "check" else f" {record.accuracy:.4g},"
        self._write(f"{what}:{accuracy} {'found finished' if reused else f'{seconds:.1f} s'}")
        self._before = record

    def task_done(self, record: TaskRecord) -> None:
        """Where the task stands."""
        place = f"{record.index}/{len(self._spec.tasks)}"
        goal = f"goal {record.goal:.4g} {'met' if record.goal_met else 'MISSED'} with {record.accuracy:.4g}"
        self._write(
            f"== {place} {record.name}: test accuracy {record.test_accuracy:.4g}, {goal}, "
            f"budget x{round(record.budget_x, 3)}, sparsity {record.sparsity:.2f}, {record.delta_bytes:,} bytes"
        )

    def note(self, message: str) -> None:
        """The message."""
        self._write(f"note: {message}")

    def stop_requested(self) -> bool:
        """Whether a signal came."""
        return self._stop.requested
