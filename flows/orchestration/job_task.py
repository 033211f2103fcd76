"""A run of a comparison as one Prefect task, and the workers that Prefect hands it to.

The task stands in a module that is imported by its name, since workers in other processes find it by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from flows.orchestration.outage import server_answers
from flows.orchestration.reap import GONE
from flows.orchestration.run_log import to_run_log
from flows.sweep.job import Job, Outcome, learn_job
from flows.sweep.slot import Pending, Submit
from flows.sweep.worker_process import begin_worker


@task(name="learn", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def learn_as_task(name: str, job: Job) -> State[Outcome]:  # noqa: ARG001  (the name is shown)
    """Learn a run in a worker; the state of the task is how it came out."""
    outcome = learn_job(job, to_run_log)
    if outcome.state == "finished":
        return Completed(data=outcome)
    if outcome.state == "stopped":
        return Cancelled(message="stopped; the same again goes on", data=outcome)
    return Failed(message=outcome.why, data=outcome)


class PendingTask:
    """A job that a task runner has."""

    def __init__(self, future: PrefectFuture[Any]) -> None:
        self._future = future

    def add_done_callback(self, fn: Callable[..., object]) -> None:
        """Call it when the task is done."""

        def call(future: PrefectFuture[Any]) -> None:
            fn(future)

        self._future.add_done_callback(call)

    def result(self) -> Outcome:
        """How it came out; raises a fault of ours, or of the worker, whose task is then shown as crashed."""
        try:
            found = self._future.result(raise_on_failure=False)
        except Exception:
            self._show_crashed()
            raise
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Outcome)
        return found

    def _show_crashed(self) -> None:
        """Tell Prefect, which hears nothing more from the worker. It only shows what is learned: it may be away."""
        if server_answers():
            with suppress(Exception), get_client(sync_client=True) as client:
                client.set_task_run_state(self._future.task_run_id, Crashed(message=GONE), force=True)


@contextmanager
def learn_on_runner(runner: TaskRunner[Any]) -> Iterator[Submit]:
    """A worker of a task runner that is open already, such as a cluster's, which renews its workers by itself."""
    yield lambda job: PendingTask(runner.submit(learn_as_task, {"name": job.spec.name, "job": job}))


@contextmanager
def learn_in_prefect_process(root: Path) -> Iterator[Submit]:
    """One worker process under Prefect. It has a runner to itself, so that its end takes no other run with it."""
    with (
        ProcessPoolTaskRunner(1, initializer=begin_worker, initargs=(root,)) as runner,
        learn_on_runner(runner) as submit,
    ):

        def submit_to_living(job: Job) -> Pending:
            if getattr(runner._executor, "_broken", False):  # Prefect would fail the job, later and in another thread
                raise BrokenProcessPool("the worker ended while it had nothing to do")
            return submit(job)

        yield submit_to_living
