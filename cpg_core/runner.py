"""Learn a run's tasks in order. Who calls `run_stage` is left open: this loop, or a workflow engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from cpg_core.config.settings import Settings
from cpg_core.distributed.rank_worker import start_ranks
from cpg_core.machine import deterministic, device_of, device_seconds
from cpg_core.methods import find
from cpg_core.stages.backbone_rules import require_fit, require_kinds
from cpg_core.stages.context import TaskContext
from cpg_core.stages.forecast import forecast, forecast_line
from cpg_core.stages.freezing.freeze import freeze
from cpg_core.stages.next_stage import next_stage
from cpg_core.stages.open_task import open_task
from cpg_core.stages.request import Request
from cpg_core.stages.run_stage import run_stage
from cpg_core.storage.files import sweep
from cpg_core.storage.lock import locked
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.storage.runs import require_current, spec_on_disk, write_spec
from cpg_core.training.first_batches import FirstBatches
from cpg_core.training.ranks import SINGLE_PROCESS
from cpg_core.training.reporter import Reporter, Several

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


def _distinct_settings(run: Run, left: Iterable[int]) -> list[Settings]:
    """Those of the run and of its tasks, none twice."""
    found = [run.spec.settings]
    for index in left:
        if (settings := run.settings(index)) not in found:
            found.append(settings)
    return found


def learn_sequence(
    run: Run,
    reporter: Reporter,
    learn: Callable[[TaskContext], None] = learn_task,
    clock: Callable[[], float] = device_seconds,
) -> None:
    """Learn the tasks that are not frozen yet; a run that is new is on disk from its first task on.

    The first batches are measured by `clock`, and of a long run a note tells how long it takes at the most.

    Raises:
        CpgError: another process is learning this run or has changed it since it was opened, its device is not here,
            its method cannot learn with its backbone or its kinds of task, or a rank was lost.
    """
    with alone(run), deterministic(run.spec.settings.compute.threads):
        require_current(run)
        _drop_work_of_frozen(run)
        method = find(run.spec.method)
        left = range(run.frozen() + 1, len(run.spec.tasks) + 1)
        if left:
            device_of(run.spec.settings.compute.device)
            require_kinds(method, run.spec.tasks)
            for settings in _distinct_settings(run, left):
                require_fit(method, run.spec.backbone, settings)
        with start_ranks(run) if left else nullcontext(SINGLE_PROCESS) as ranks:
            told, first = set[str](), FirstBatches(clock)
            for index in left:
                context = open_task(run, method, index, Several(reporter, first), ranks)
                lines = context.data.summary.lines()  # which opens the test images, before anything is learned
                for line in [line for line in lines if line not in told]:  # tasks may share a source
                    reporter.note(line)
                told.update(lines)
                first.measure(partial(_tell_forecast, context))
                with spec_on_disk(run, index) as dropped:
                    for name in dropped:
                        reporter.note(f"task {name} was not learned to its end; the run has it no longer")
                    learn(context)
        if not left:
            write_spec(run)  # its images may have moved


def _drop_work_of_frozen(run: Run) -> None:
    """What a process that was killed as it froze a task has left of the work on it."""
    for index in range(1, run.frozen() + 1):
        for work in run.work_folders(index):
            shutil.rmtree(work, ignore_errors=True)


def _tell_forecast(context: TaskContext, seconds: float) -> None:
    """Of a long run, from the seconds of a batch."""
    found = forecast(context)
    in_batch = min(context.settings.batch_size, len(context.data.train))
    if found is not None and (told := forecast_line(found, seconds / in_batch, context.name)):
        context.reporter.note(told)


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the lock of a run inside the block, and begin without what killed processes left half-written.

    Raises:
        CpgError: another process holds it, or the run's folders cannot be written.
    """
    with locked(run.work):
        sweep(run.folder)
        sweep(run.work)
        yield
