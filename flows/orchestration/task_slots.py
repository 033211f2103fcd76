"""A run as one Prefect task, and slots that hand it to a Prefect task runner.

The task stands in a module that is imported by its name, since workers in other processes find it by that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from flows.orchestration.run_log import in_logs
from flows.sweep.job import Outcome, Unit, learn_unit
from flows.sweep.worker_pool import begin_worker, out_of_reach


@task(name="learn", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def learn_as_task(name: str, unit: Unit) -> State[Outcome]:  # noqa: ARG001  (the name is shown)
    """Learn a run in a worker; the state of the task is how it came out."""
    outcome = learn_unit(unit, in_logs)
    if outcome.state == "finished":
        return Completed(data=outcome)
    if outcome.state == "stopped":
        return Cancelled(message="stopped; the same again goes on", data=outcome)
    return Failed(message=outcome.why, data=outcome)


class Handed:
    """A unit that a task runner has."""

    def __init__(self, future: PrefectFuture[Any]) -> None:
        self._future = future

    def add_done_callback(self, fn: Callable[..., object]) -> None:
        """Call it when the task is done."""

        def call(future: PrefectFuture[Any]) -> None:
            fn(future)

        self._future.add_done_callback(call)

    def result(self) -> Outcome:
        """How it came out; raises a fault of ours, or of the worker."""
        found = self._future.result(raise_on_failure=False)
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Outcome)
        return found


class RunnerSlot:
    """A place on a task runner that is open already, such as a cluster's."""

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner = runner

    def submit(self, unit: Unit) -> Handed:
        """Hand the runner a unit."""
        return Handed(self._runner.submit(learn_as_task, {"name": unit.spec.name, "unit": unit}))

    def renew(self) -> None:
        """A cluster renews its workers by itself."""

    def close(self) -> None:
        """The runner is closed by who opened it."""


class PoolSlot:
    """One worker process under Prefect. It has a runner to itself, so that its end takes no other run with it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runner = self._open()

    def _open(self) -> ProcessPoolTaskRunner:
        return ProcessPoolTaskRunner(1, initializer=begin_worker, initargs=(self._root,)).__enter__()

    def submit(self, unit: Unit) -> Handed:
        """Hand the worker a unit."""
        with out_of_reach():
            return RunnerSlot(self._runner).submit(unit)

    def renew(self) -> None:
        """Take another process."""
        self.close()
        self._runner = self._open()

    def close(self) -> None:
        """End the worker once it is idle."""
        self._runner.__exit__(None, None, None)
