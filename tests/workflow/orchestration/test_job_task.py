"""Workers of Prefect that die: what is shown of the run that each had, and that the next run gets another worker."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID, uuid4

import pytest
from waiting import until

from flows.sweep.slot import Slot


def test_the_task_of_a_worker_that_was_killed_is_shown_as_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.futures import PrefectConcurrentFuture

    from flows.orchestration import job_task

    api, killed, task_run = MagicMock(), Future[Any](), uuid4()
    killed.set_exception(BrokenProcessPool())
    monkeypatch.setattr(job_task, "server_answers", lambda: True)
    monkeypatch.setattr(job_task, "get_client", lambda **_: nullcontext(api))
    with pytest.raises(BrokenProcessPool):
        job_task.PendingTask(PrefectConcurrentFuture(task_run, killed)).result()
    (((shown, state), how),) = api.set_task_run_state.call_args_list
    assert isinstance(shown, UUID) and shown == task_run
    assert state.is_crashed() and how == {"force": True}
    api.set_task_run_state.side_effect = ConnectionError  # it changes nothing of what is raised
    with pytest.raises(BrokenProcessPool):
        job_task.PendingTask(PrefectConcurrentFuture(task_run, killed)).result()


def test_a_worker_that_died_idle_is_replaced_before_it_gets_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.task_runners import ProcessPoolTaskRunner

    from flows.orchestration import job_task

    asked = list[Any]()

    class Runner(ProcessPoolTaskRunner):
        """Hands its process work as Prefect does: in a thread of its own."""

        def submit(self, *_: object, **__: object) -> Any:  # noqa: ANN401  (a future)
            assert self._resolver_executor is not None and self._executor is not None
            asked.append(self)
            executor = self._executor
            return self._resolver_executor.submit(lambda: executor.submit(os.getpid).result())

    monkeypatch.setattr(job_task, "ProcessPoolTaskRunner", Runner)
    monkeypatch.setattr(job_task, "begin_worker", str)  # nothing to begin
    monkeypatch.setattr(job_task, "PendingTask", lambda future: future)
    slot, job = Slot(lambda: job_task.learn_in_prefect_process(tmp_path)), MagicMock()
    first = slot.submit(job).result()
    os.kill(first, signal.SIGKILL)
    until(lambda: bool(asked[0]._executor._broken), "the end of the worker")
    assert slot.submit(job).result() != first
    slot.close()
    assert asked[1] is not asked[0]
