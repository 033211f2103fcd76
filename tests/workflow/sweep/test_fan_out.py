"""Jobs side by side: a worker that is gone is replaced, and costs no more than its own run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from time import sleep

import pytest
from core.tiny import TINY
from waiting import HANG

from flows.console.signals import Stop
from flows.sweep.comparison import Comparison, Planned, plan
from flows.sweep.fan_out import KILLED, fan_out
from flows.sweep.job import Job, Outcome
from flows.sweep.slot import Pending, Submit
from workflow.here import learn_here

TWO = Comparison("digits-5", ("packnet", "pae"), goals=(0.6,), tasks="1-2", overrides=TINY)


def nobody(one: Planned, outcome: Outcome) -> None:
    """Told of a run that ended."""


@pytest.mark.parametrize(
    "fault, why", [(BrokenProcessPool(), KILLED), (KeyError("ours"), "KeyError: 'ours'")], ids=["gone", "ours"]
)
def test_a_worker_that_is_gone_costs_its_run_alone(fault: Exception, why: str, tmp_path: Path) -> None:
    def failing(job: Job) -> Outcome:
        if job.spec.method == "packnet":
            raise fault
        return Outcome("finished")

    opened: list[str] = []

    def worker() -> AbstractContextManager[Submit]:
        opened.append("a worker")
        return learn_here(failing)

    outcomes = fan_out(plan(TWO, tmp_path, 1), tmp_path, 1, worker, nobody, Stop(), track=False)
    assert [(outcome.state, outcome.why) for outcome in outcomes.values()] == [("failed", why), ("finished", "")]
    assert len(opened) == (2 if isinstance(fault, BrokenProcessPool) else 1)


def test_a_worker_that_died_idle_is_replaced(tmp_path: Path) -> None:
    opened = list[int]()

    @contextmanager
    def worker() -> Iterator[Submit]:
        opened.append(number := len(opened))
        with learn_here(lambda _: Outcome("finished")) as submit:
            jobs = list[Job]()

            def once(job: Job) -> Pending:
                jobs.append(job)
                if number == 0 and len(jobs) == 2:
                    raise BrokenProcessPool
                return submit(job)

            yield once

    found = fan_out(plan(TWO, tmp_path, 1), tmp_path, 1, worker, nobody, Stop(), track=False)
    assert [one.state for one in found.values()] == ["finished", "finished"]
    assert len(opened) == 2


def test_when_nobody_can_be_told_the_other_runs_are_stopped(tmp_path: Path) -> None:
    """As when the pipe to `head` is closed: they would learn to their ends, unseen."""
    closing, asked = Event(), list[bool]()

    def learn(job: Job) -> Outcome:
        if job.spec.method == "pae":
            closing.wait(HANG)
            asked.append(job.stop.exists())
        return Outcome("finished")

    @contextmanager
    def worker() -> Iterator[Submit]:
        with ThreadPoolExecutor(1) as executor:
            yield lambda job: executor.submit(learn, job)
            closing.set()  # from here on its run is waited for

    def nowhere(one: Planned, outcome: Outcome) -> None:  # noqa: ARG001  (as it is told)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fan_out(plan(TWO, tmp_path, 1), tmp_path, 2, worker, nowhere, Stop(), track=False)
    assert asked == [True]
    assert not list((tmp_path / "work").glob(".stop*"))


def test_the_runs_of_a_cluster_are_stopped_too_and_waited_for(tmp_path: Path) -> None:
    """Its workers outlive their slots, and would not look before the file is gone again."""
    asked = list[bool]()

    def learn(job: Job) -> Outcome:
        if job.spec.method == "pae":
            for _ in range(20):
                if not job.stop.exists():
                    sleep(0.1)
            asked.append(job.stop.exists())
        return Outcome("finished")

    def nowhere(one: Planned, outcome: Outcome) -> None:  # noqa: ARG001  (as it is told)
        raise BrokenPipeError

    with ThreadPoolExecutor(2) as cluster:

        @contextmanager
        def worker() -> Iterator[Submit]:
            yield lambda job: cluster.submit(learn, job)

        with pytest.raises(BrokenPipeError):
            fan_out(plan(TWO, tmp_path, 1), tmp_path, 2, worker, nowhere, Stop(), track=False)
    assert asked == [True]
    assert not list((tmp_path / "work").glob(".stop*"))
