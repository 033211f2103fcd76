"""Progress on the terminal: bars where there is one, plain lines where output goes to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cpg_core.progress import Reporter
from cpg_core.records import Epoch, StageRecord, TaskRecord
from cpg_core.run import Run
from flows.reporters import Lines
from flows.stopping import Stop

Listen = Callable[[Run, Stop], AbstractContextManager[Reporter]]
"""Gives a run its reporter, for as long as it is learned."""


@contextmanager
def on_terminal(run: Run, stop: Stop) -> Iterator[Reporter]:
    """Bars for the sequence, the stage and the epoch on a terminal; else a line a stage and one a task."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(run, stop, lambda text: print(text, flush=True))
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(run, stop, progress)


class Bars(Lines):
    """The lines, and three bars below them."""

    def __init__(self, run: Run, stop: Stop, progress: Progress) -> None:
        super().__init__(run, stop, lambda text: progress.console.print(text, markup=False, highlight=False))
        self._progress = progress
        total = len(run.spec.tasks)
        self._sequence = progress.add_task(f"{run.spec.sequence}, {total} tasks", total=total, completed=run.frozen())
        self._stage = progress.add_task("", total=None)
        self._epoch = progress.add_task("", total=1.0)

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """Start the stage's bar anew."""
        name = f"{stage.replace('_', '-')} {task}"
        self._progress.reset(self._stage, description=name, total=epochs)
        self._progress.reset(self._epoch, description="epoch 1", total=1.0)

    def batch_done(self, share: float) -> None:
        """Move the epoch's bar."""
        self._progress.update(self._epoch, completed=share)

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:
        """Move the stage's bar."""
        done = epoch.epoch + 1
        self._progress.update(self._stage, completed=done)
        self._progress.reset(self._epoch, description=f"epoch {done + 1} ({epoch.accuracy:.3f})", total=1.0)

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """A line, and the stage's bar empty."""
        super().stage_done(task, record, seconds, reused=reused)
        self._progress.reset(self._stage, description="", total=None)

    def task_done(self, record: TaskRecord) -> None:
        """A line, and the sequence's bar moves."""
        super().task_done(record)
        self._progress.update(self._sequence, completed=record.index)
