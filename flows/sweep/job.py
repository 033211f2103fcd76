"""What a worker of a comparison does: learn one run, and tell in a few words how it came out.

A worker may be a process on another machine, which no signal reaches. So it is asked to stop by a file beside the runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.training.reporter import Interrupted, Reporter, Several, Silent
from flows.console.failures import described
from flows.console.reporters import Listen, reading_line
from flows.console.signals import Stop, to_stderr
from flows.local_runner import learn
from flows.persist import Persist
from flows.versioning.dvc_pointers import open_or_new_checked

LOOK_EVERY = 32
"""Images between two looks at whether somebody asks to stop."""


@dataclass(frozen=True)
class Job:
    """One run for a worker to learn.

    Attributes:
        root: the folder of results, absolute: a worker may have another working directory.
        spec: the run, complete.
        track: recorded in MLflow.
        stop: the file that asks all workers to stop once it is there.
    """

    root: Path
    spec: RunSpec
    track: bool
    stop: Path


@dataclass(frozen=True)
class Outcome:
    """How a job came out: its state, why it failed, what a person should know besides, and why MLflow refused it."""

    state: Literal["finished", "stopped", "failed", "not begun"]
    why: str = ""
    notes: tuple[str, ...] = ()
    unrecorded: str | None = None


@contextmanager
def to_nobody(run: Run, stop: Stop) -> Iterator[Reporter]:  # noqa: ARG001  (as a Listen is called)
    """Nobody is told."""
    yield Silent()


def learn_job(job: Job, listen: Listen = to_nobody) -> Outcome:
    """Learn a run, or what is left of it, in this process."""
    notes: list[str] = []

    @contextmanager
    def watching(run: Run, stop: Stop) -> Iterator[Reporter]:
        with listen(run, stop) as reporter:
            yield Several(reporter, ReadingLines(run.spec.name), StopWatcher(stop, job.stop, notes))

    if job.stop.exists():
        return Outcome("stopped")
    persist = Persist(job.root, track=job.track)
    try:
        learn(open_or_new_checked(job.root, job.spec), watching, persist)
    except Interrupted:
        return Outcome("stopped", notes=tuple(notes))
    except Exception as error:
        if (why := described(error)) is None:
            raise
        return Outcome("failed", why, tuple(notes))
    return Outcome("finished", notes=tuple(notes), unrecorded=persist.unrecorded)


class ReadingLines(Silent):
    """A line for many images, which a worker of this machine writes to the terminal of whoever compares."""

    def __init__(self, run: str) -> None:
        self._run = run

    def reading(self, task: str, done: int, total: int) -> bool:
        """`digits-5-cpg: images of fish: 5,000 of 16,000 read`."""
        if line := reading_line(task, done, total):
            to_stderr(f"{self._run}: {line}")
        return False


class StopWatcher(Silent):
    """Stops on a signal, or once the file is there that asks for it; keeps the notes."""

    def __init__(self, stop: Stop, asked: Path, notes: list[str]) -> None:
        self._stop = stop
        self._asked = asked
        self._notes = notes

    def note(self, message: str) -> None:
        """Keep it."""
        self._notes.append(message)

    def reading(self, task: str, done: int, total: int) -> bool:  # noqa: ARG002  (as of a Reporter)
        """Whether a signal came; now and then whether the file, which may be on another machine, is there."""
        return self.stop_requested() if done % LOOK_EVERY == 0 else self._stop.requested

    def stop_requested(self) -> bool:
        """Whether a signal came, or the file."""
        return self._stop.requested or self._asked.exists()
