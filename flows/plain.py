"""Learn a run here and now, without a workflow engine."""

from __future__ import annotations

from cpg_core.run import Run
from cpg_core.runner import learn_sequence, learn_task
from cpg_core.stages import TaskContext
from flows.reporters import Listen
from flows.stopping import Stop
from flows.tracking import Track


def learn(run: Run, listen: Listen, track: Track) -> None:
    """Learn the tasks of a run that are not frozen yet.

    Raises:
        CpgError: a stage cannot be done, or another process is learning the run.
        Interrupted: a signal came; the same call goes on from there.
    """
    stop = Stop()
    with stop.listening(), listen(run, stop) as reporter:

        def learn_one(context: TaskContext) -> None:
            learn_task(context)
            track(run, reporter.note)

        learn_sequence(run, reporter, learn_one)
        track(run, reporter.note)
