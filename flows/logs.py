"""A reporter that writes to the log of the Prefect run that is going on, which the UI shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from cpg_core.progress import Reporter
from cpg_core.run import Run
from flows.reporters import Lines, Listen, Several
from flows.stopping import Stop


@contextmanager
def in_logs(run: Run, stop: Stop) -> Iterator[Reporter]:
    """A line a stage and one a task, in the log of the Prefect task or flow that is running."""
    yield Lines(run, stop, lambda text: get_run_logger().info(text))


def also_in_logs(listen: Listen) -> Listen:
    """Another reporter and the log."""

    @contextmanager
    def both(run: Run, stop: Stop) -> Iterator[Reporter]:
        with listen(run, stop) as one, in_logs(run, stop) as other:
            yield Several(one, other)

    return both
