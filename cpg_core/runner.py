"""Learn a run's tasks in order. Who calls `run_stage` is left open: this loop, or a workflow engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from filelock import FileLock, Timeout

from cpg_core.distributed.rank_worker import start_ranks
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic
from cpg_core.methods import find
from cpg_core.stages.context import TaskContext
from cpg_core.stages.freeze import freeze
from cpg_core.stages.next_stage import next_stage
from cpg_core.stages.open_task import open_task
from cpg_core.stages.request import Request
from cpg_core.stages.run_stage import run_stage
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.training.ranks import SINGLE_PROCESS
from cpg_core.training.reporter import Reporter

Execute = Callable[[TaskContext, Request], StageRecord]
"""Does one stage, or finds it done."""


def do_stage(context: TaskContext, request: Request) -> tuple[StageRecord, bool]:
    """Do one stage here and now, or find it done: its record, and whether it was found."""
    if request.stage == "freeze":
        return freeze(context, request), False
    return run_stage(context, request)


def execute(context: TaskContext, request: Request) -> StageRecord:
    """`do_stage`, told by its record alone."""
    return do_stage(context, request)[0]


def learn_task(context: TaskContext, execute: Execute = execute) -> None:
    """Take a task through its stages (Algorithm 1); the last of them freezes it."""
    done: list[StageRecord] = []
    while (request := next_stage(context.method, done, context.rules)) is not None:
        done.append(execute(context, request))


def learn_sequence(run: Run, reporter: Reporter, learn: Callable[[TaskContext], None] = learn_task) -> None:
    """Learn the tasks that are not frozen yet.

    Raises:
        CpgError: another process is learning this run, or a rank was lost.
    """
    with alone(run), deterministic(run.spec.settings.compute.threads):
        method = find(run.spec.method)
        left = range(run.frozen() + 1, len(run.spec.tasks) + 1)
        with start_ranks(run) if left else nullcontext(SINGLE_PROCESS) as ranks:
            for index in left:
                learn(open_task(run, method, index, reporter, ranks))


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the lock of a run inside the block; it falls with the process that holds it.

    Raises:
        CpgError: another process holds it.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.work / "lock", timeout=0):
            for leftover in run.folder.rglob(".*.part"):  # of a process that was killed while it wrote
                leftover.unlink()
            yield
    except Timeout as error:
        raise CpgError(
            f"run {run.spec.name}: another process is learning it; wait for that one to end, or name another run"
        ) from error
