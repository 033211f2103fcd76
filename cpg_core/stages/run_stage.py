"""Do a stage, or find it done: a killed run goes on where it was.

A finished stage is used again when its key and its bytes agree.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from cpg_core.config.schema import Strict
from cpg_core.model.ownership import count, size
from cpg_core.model.state import TaskState
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.files import STATE, folder_of, read_seconds, read_state, stage_folder, write_state
from cpg_core.stages.request import Request
from cpg_core.storage.files import Damaged, hash_of, read_json, sha256, write_json
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import RECORD, SECONDS
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.reporter import Reporter


class Call(Strict):
    """A stage that the ranks are called to do together: of which task, which stage, and under which key."""

    index: int
    request: Request
    key: str


def run_stage(context: TaskContext, request: Request) -> tuple[StageRecord, bool]:
    """Do a stage, or find it done: its record, and whether it was found."""
    folder = folder_of(context, request)
    source = None if request.source is None else stage_folder(context.run.task_work(context.index), request.source)
    key = hash_of([context.key, request.__dict__, None if source is None else sha256(source / RECORD)])
    found = _finished(folder, key, context.reporter)
    if found is not None:
        context.reporter.stage_done(context.name, found, read_seconds(folder), reused=True)
        return found, True
    for stale in folder.parent.glob(f"{request.number:02d}-*"):
        if stale != folder:
            shutil.rmtree(stale)
    call = Call(index=context.index, request=request, key=key)
    with context.ranks.on_all_ranks(call.model_dump_json()):
        outcome = do_work(context, call)
    record = _record(context, request, outcome, key, folder)
    write_json(folder / SECONDS, {"seconds": outcome.seconds})
    write_json(folder / RECORD, record.model_dump(mode="json"))
    for leftover in folder.glob("at-*"):
        leftover.unlink()
    context.reporter.stage_done(context.name, record, outcome.seconds, reused=False)
    return record, False


def do_work(context: TaskContext, call: Call, snapshots: Callable[[Path, str], Snapshots] = Snapshots) -> Outcome:
    """What a stage finds, worked out from what is on disk: so every rank comes to the same."""
    folder, request = folder_of(context, call.request), call.request
    state = None
    if request.source is not None:
        source = stage_folder(context.run.task_work(context.index), request.source)
        state = read_state(source, context.run.shapes(request.budget_x))
    work = context.method.stages[request.stage]
    return work(context, request, state, snapshots(folder, call.key))


def _finished(folder: Path, key: str, reporter: Reporter) -> StageRecord | None:
    if not (folder / RECORD).exists():
        return None
    try:
        record = StageRecord.model_validate(read_json(folder / RECORD))
        if record.key != key:
            reporter.note(f"{folder.name}: settings, data, code or the model before it changed; done anew")
            return None
        if record.state_sha256 is not None and sha256(folder / STATE) != record.state_sha256:
            raise Damaged(f"{folder / STATE}: not the bytes that its record names")
        read_seconds(folder)
        return record
    except (Damaged, ValidationError, KeyError) as error:
        reporter.note(f"{folder.name}: done anew, since {error}")
        return None


def _record(context: TaskContext, request: Request, outcome: Outcome, key: str, folder: Path) -> StageRecord:
    state, facts = outcome.state, {}
    state_sha256 = None
    if state is not None:
        state_sha256 = write_state(folder, state)
        facts = measures(context, state)
    return StageRecord(
        number=request.number,
        stage=request.stage,
        source=request.source,
        budget_x=request.budget_x,
        target=request.target,
        epochs=outcome.epochs,
        key=key,
        state_sha256=state_sha256,
        **facts,
        **outcome.fields,
    )


def measures(context: TaskContext, state: TaskState) -> dict[str, float | int | None]:
    """What a task's state holds: its own weights, its sparsity, and its share of the older ones."""
    shared = context.shared(state.budget_x)
    older = count(context.older(shared))
    own = count(state.own)
    return {
        "own": own,
        "sparsity": context.method.sparsity(own, size(shared.owner) - older),
        "picked": count(state.pick) / older if older else None,
    }
