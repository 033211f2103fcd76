"""A reporter that writes to the log of the Prefect run that is going on, which the UI shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Reporter, Several
from flows.console.reporters import Lines, Listen
from flows.console.signals import Stop


class LogLines(Lines):
    """A line a stage, in the log of the Prefect task that does it; one a task, there and in the sequence's own log."""

    def __init__(self, run: Run, stop: Stop) -> None:
        super().__init__(run, stop, lambda text: get_run_logger().info(text))
        self._sequence = Lines(run, stop, get_run_logger().info)

    def task_done(self, record: TaskRecord) -> None:
        """The page of a sequence shows only what was logged by itself, not what its tasks logged."""
        super().task_done(record)
        self._sequence.task_done(record)


@contextmanager
def to_run_log(run: Run, stop: Stop) -> Iterator[Reporter]:
    """What is learned, in the logs of the flow run that is going on and of the task runs in it."""
    yield LogLines(run, stop)


def terminal_and_log(listen: Listen) -> Listen:
    """The reporter of `listen`, and the log."""

    @contextmanager
    def both(run: Run, stop: Stop) -> Iterator[Reporter]:
        with listen(run, stop) as one, to_run_log(run, stop) as other:
            yield Several(one, other)

    return both
