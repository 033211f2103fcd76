"""Learn a run here and now, without a workflow engine."""

from __future__ import annotations

from cpg_core.run import Run
from cpg_core.runner import learn_sequence, learn_task
from cpg_core.stages import TaskContext
from flows.keeping import Keep
from flows.reporters import Listen
from flows.stopping import Stop


def learn(run: Run, listen: Listen, keep: Keep) -> None:
    """Learn the tasks of a run that are not frozen yet, and keep each of them.

    Raises:
        CpgError: a stage cannot be done, or another process is learning the run.
        Interrupted: a signal came; the same call goes on from there.
    """
    stop = Stop()
    with stop.listening(), listen(run, stop) as reporter:

        def learn_one(context: TaskContext) -> None:
            learn_task(context)
            keep(run, reporter.note)

        learn_sequence(run, reporter, learn_one)
        keep(run, reporter.note)
