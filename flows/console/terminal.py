"""Progress on the terminal: bars where there is one, plain lines where output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cpg_core.storage.records import Epoch, StageRecord, TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Reporter, Silent
from flows.console.loading import ERASE
from flows.console.reporters import Lines
from flows.console.signals import Stop, acknowledged, to_stderr

COLUMNS = (TextColumn("{task.description:<28}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())

STARTING = "starting the Prefect server ..."
STOPPING = "stopping: the Prefect server is not waited for"


@contextmanager
def on_terminal(run: Run, stop: Stop) -> Iterator[Reporter]:
    """Bars for the sequence, the stage and the epoch on a terminal; else a line a stage and one a task."""
    console = Console(stderr=True)
    stop.acknowledge = to_stderr
    if not console.is_terminal:
        yield Lines(run, stop, lambda text: print(text, flush=True))
        return
    with Progress(*COLUMNS, console=console, transient=True) as progress:
        bars = Bars(run, stop, progress)
        stop.acknowledge = bars.acknowledge
        yield bars


@contextmanager
def reading_bar() -> Iterator[Callable[[str, int, int], object]]:
    """Shows `(task, done, total)` as a bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Silent().reading
        return
    with Progress(*COLUMNS, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        images = progress.add_task("", total=None, visible=False)
        yield lambda task, done, total: show_reading(progress, images, task, done, total)


@contextmanager
def starting_server() -> Iterator[None]:
    """Says that the Prefect server starts; on a terminal the line goes once it has. Ctrl-C is acknowledged at once."""
    console = Console(stderr=True)
    goes = console.is_terminal and not console.is_dumb_terminal
    print(STARTING, end="" if goes else "\n", file=sys.stderr, flush=True)
    with acknowledged(f"{ERASE}{STOPPING}" if goes else STOPPING):
        yield
    if goes:
        print(ERASE, end="", file=sys.stderr, flush=True)


def show_reading(progress: Progress, bar: TaskID, task: str, done: int, total: int) -> None:
    """Move the bar of the images that are read; it is there only while they are."""
    text = f"images of {task}, {done:,}/{total:,}"
    progress.update(bar, description=text, completed=done, total=total, visible=done < total)


class Bars(Lines):
    """The lines, and three bars below them; those of the stage and the epoch only while a stage trains."""

    def __init__(self, run: Run, stop: Stop, progress: Progress) -> None:
        super().__init__(
            run, stop, lambda text: progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        )
        self._progress = progress
        total = len(run.spec.tasks)
        self._sequence = progress.add_task(f"{run.spec.sequence}, {total} tasks", total=total, completed=run.frozen())
        self._images = progress.add_task("", total=None, visible=False)
        self._stage = progress.add_task("", total=None, visible=False)
        self._epoch = progress.add_task("", total=1.0, visible=False)

    def acknowledge(self, message: str) -> None:
        """Say at once that a signal was heard, above the bars; it may have come in the middle of a line."""
        try:
            self._write(message)
        except RuntimeError:  # a print that was cut into cannot be entered again
            to_stderr(message)

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """Start the stage's bar anew."""
        name = f"{stage.replace('_', '-')} {task}"
        self._progress.reset(self._stage, description=name, total=epochs, visible=True)
        self._progress.reset(self._epoch, description="epoch", total=1.0, visible=True)

    def reading(self, task: str, done: int, total: int) -> bool:
        """Move a bar of its own, there while images are read."""
        show_reading(self._progress, self._images, task, done, total)
        return self._stop.requested

    def batch_done(self, share: float) -> None:
        """Move the epoch's bar."""
        self._progress.update(self._epoch, completed=share)

    def epoch_done(self, task: str, stage: str, epoch: Epoch) -> None:  # noqa: ARG002
        """Move the stage's bar."""
        self._progress.update(self._stage, completed=epoch.epoch + 1)
        self._progress.reset(self._epoch, description=f"epoch (last: accuracy {epoch.accuracy:.3f})")

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """A line, and the bars of the stage go."""
        super().stage_done(task, record, seconds, reused=reused)
        self._progress.update(self._stage, visible=False)
        self._progress.update(self._epoch, visible=False)

    def task_done(self, record: TaskRecord) -> None:
        """A line, and the sequence's bar moves."""
        super().task_done(record)
        self._progress.update(self._sequence, completed=record.index)
