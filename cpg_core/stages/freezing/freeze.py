"""Freeze: what the task has learned becomes its delta and its record, and is never written again."""

from __future__ import annotations

import shutil
import time
from functools import partial

from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_record, read_seconds, read_state, stage_folder
from cpg_core.stages.freezing.recheck import recall_content, recheck
from cpg_core.stages.freezing.split_evaluation import tested
from cpg_core.stages.freezing.stored_delta import write_delta
from cpg_core.stages.freezing.task_record import Learned, task_record
from cpg_core.stages.request import Request
from cpg_core.stages.run_stage import measures
from cpg_core.storage.files import sha256, sweep, write_json
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import DELTA, RECALL, RECORD, SECONDS
from cpg_core.training.reporter import reading_progress


def freeze(context: TaskContext, request: Request) -> StageRecord:
    """Write the task's delta and record, check every earlier task on the new shared weights, drop the work.

    The record is written last: without it the task is not frozen.
    """
    began = time.monotonic()
    assembly, folder = context.assembly, context.run.task_folder(context.index)
    done = [read_record(context.run.task_work(context.index), number) for number in range(1, request.number)]
    learned = _learned(context, request, done)
    stages = [*done, _frozen(context, request, learned)]
    record = task_record(context, learned, stages, (folder / DELTA).stat().st_size)
    earlier = recheck(assembly, learned.written.after, context.index - 1, partial(reading_progress, context.reporter))
    write_json(folder / RECALL, recall_content(earlier, learned.drawn))
    if changed := [recall.task for recall in earlier if not recall.unchanged]:
        what = f"no longer as at their freeze: {', '.join(changed)}"
        context.reporter.note(f"{context.name}: {what}; their test accuracies now are in {folder / RECALL}")
    seconds = _seconds(context, stages, began)
    write_json(folder / SECONDS, seconds)
    sweep(folder)  # what is frozen are four files: all that is in the folder goes into DVC's pointer
    write_json(folder / RECORD, record.model_dump(mode="json", context={"folder": context.run.root}))
    assembly.cache(learned.written.after, sha256(folder / RECORD))
    for work in context.run.work_folders(context.index):
        shutil.rmtree(work, ignore_errors=True)
    context.reporter.stage_done(context.name, stages[-1], list(seconds.values())[-1], reused=False)
    context.reporter.task_done(record)
    return stages[-1]


def _learned(context: TaskContext, request: Request, done: list[StageRecord]) -> Learned:
    """The delta is written, and judged and tested as it was read back."""
    assert request.source is not None
    run, data, work = context.run, context.data, context.run.task_work(context.index)
    state = read_state(stage_folder(work, request.source), run.shapes(request.budget_x))
    exact = done[request.source - 1].accuracy
    assert exact is not None
    written = write_delta(
        run.task_folder(context.index) / DELTA,
        assembly=context.assembly,
        before=context.shared(request.budget_x),
        state=state,
        index=context.index,
        data=data,
        exact_accuracy=exact,
        required_accuracy=context.required_accuracy,
        progress=context.progress,
    )
    return Learned(state, written, *tested(run, written.network, data, context.progress))


def _frozen(context: TaskContext, request: Request, learned: Learned) -> StageRecord:
    """The record of the freeze itself."""
    return StageRecord(
        number=request.number,
        stage="freeze",
        source=request.source,
        budget_x=request.budget_x,
        accuracy=learned.written.accuracy,
        key=context.key,
        **measures(context, learned.state),
    )


def _seconds(context: TaskContext, stages: list[StageRecord], began: float) -> dict[str, float]:
    """How long each stage took, in order, by `01-pick_train` and so on."""
    work = context.run.task_work(context.index)
    names = [stage.label for stage in stages]
    seconds = {name: read_seconds(work / name) for name in names[:-1]}
    return {**seconds, names[-1]: time.monotonic() - began}
