"""Learn a run here and now, without a workflow engine."""

from __future__ import annotations

from cpg_core.runner import learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.storage.lock import locked
from cpg_core.storage.run import Run
from flows.console.reporters import Listen
from flows.console.signals import Stop
from flows.persist import Persist


def learn(run: Run, listen: Listen, persist: Persist) -> None:
    """Learn the tasks of a run that are not frozen yet, and persist each of them.

    Raises:
        CpgError: a stage cannot be done, or another process is learning the run.
        Interrupted: a signal came; the same call goes on from there.
    """
    stop = Stop()
    with stop.listening(), listen(run, stop) as reporter:
        with locked(run.work):  # refusals are told before hours of learning, and what was missed is made good
            persist(run, reporter.note)

        def learn_and_persist(context: TaskContext) -> None:
            learn_task(context)
            persist(run, reporter.note)

        learn_sequence(run, reporter, learn_and_persist)
        with locked(run.work):
            persist(run, reporter.note)
