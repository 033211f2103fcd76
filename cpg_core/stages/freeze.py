"""Freeze: what the task has learned becomes its delta and its record, and is never written again."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import torch

from cpg_core.machine import device_of, machine
from cpg_core.model.network import width
from cpg_core.model.ownership import size
from cpg_core.model.state import TaskState, released_share
from cpg_core.recall.recall import network_of, probe_of, recheck, test_accuracy
from cpg_core.stages.context import TaskContext, measures, read_record, read_seconds, read_state, stage_folder
from cpg_core.stages.next_stage import Request
from cpg_core.storage import delta as deltas
from cpg_core.storage.files import digest, sha256, sweep, write_json
from cpg_core.storage.records import StageRecord, TaskRecord
from cpg_core.storage.run import DELTA, RECALL, RECORD, SECONDS
from cpg_core.training.evaluation import probe_logits


def freeze(context: TaskContext, request: Request) -> StageRecord:
    """Write the task's delta and record, check every earlier task on the new shared weights, drop the work.

    The test split is read here, once. The record is written last: without it the task is not frozen.
    """
    assert request.source is not None
    began = time.monotonic()
    run, index = context.run, context.index
    folder, work = run.task_folder(index), run.task_work(index)
    state = read_state(stage_folder(work, request.source), run.shapes(request.budget_x))
    before = context.shared(request.budget_x)
    draft = deltas.make(before, state, index, in_place=run.in_place)
    after = deltas.apply(before, draft, index, in_place=run.in_place)
    stages = [read_record(work, number) for number in range(1, request.number)]
    stages.append(_stage(context, request, state, chosen=stages[request.source - 1]))
    record = _record(context, state, stages, released=released_share(after))
    network = network_of(run, after, record, draft)
    probe = probe_logits(network, probe_of(run))
    delta_sha256 = deltas.write(folder / DELTA, replace(draft, probe=probe))
    record = record.model_copy(
        update={
            "test_accuracy": test_accuracy(run, network, record, context.data.test, context.progress),
            "delta_bytes": (folder / DELTA).stat().st_size,
            "delta_sha256": delta_sha256,
            "probe_sha256": digest(probe),
        }
    )
    earlier = recheck(run, after, index - 1)
    write_json(folder / RECALL, {"earlier": [recall.model_dump(mode="json") for recall in earlier]})
    names = {stage.number: f"{stage.number:02d}-{stage.stage}" for stage in stages}
    seconds = {names[number]: read_seconds(work / names[number]) for number in range(1, request.number)}
    seconds[names[request.number]] = time.monotonic() - began
    write_json(folder / SECONDS, seconds)
    sweep(folder)  # what is frozen are four files: all that is in the folder goes into DVC's pointer
    write_json(folder / RECORD, record.model_dump(mode="json"))
    run.cache(after, sha256(folder / RECORD))
    shutil.rmtree(work, ignore_errors=True)
    context.reporter.stage_done(context.name, stages[-1], seconds[names[request.number]], reused=False)
    context.reporter.task_done(record)
    return stages[-1]


def _stage(context: TaskContext, request: Request, state: TaskState, chosen: StageRecord) -> StageRecord:
    return StageRecord(
        number=request.number,
        stage="freeze",
        source=request.source,
        budget_x=request.budget_x,
        accuracy=chosen.accuracy,
        key=context.key,
        **measures(context, state),
    )


def _record(context: TaskContext, state: TaskState, stages: list[StageRecord], released: int) -> TaskRecord:
    spec, settings, frozen = context.run.spec, context.settings, stages[-1]
    assert frozen.accuracy is not None and frozen.own is not None and frozen.sparsity is not None
    device = device_of(settings.compute.device)
    allocated, released = _counts(context, state, released)
    return TaskRecord(
        index=context.index,
        name=context.name,
        task=context.data.spec.model_dump(mode="json", context={"folder": context.run.root}),
        method=spec.method,
        goal=context.goal,
        goal_split=settings.goal_split,
        goal_met=frozen.accuracy >= context.goal - settings.check.tolerance,
        accuracy=frozen.accuracy,
        test_accuracy=0.0,
        budget_x=state.budget_x,
        allocated=allocated,
        base=sum(shape.numel() for shape in context.run.shapes(1.0).values()),
        own=frozen.own,
        released=released,
        sparsity=frozen.sparsity,
        picked=frozen.picked,
        backbone=spec.backbone,
        width=width(settings.base_width, state.budget_x),
        classes=context.data.classes,
        images={name: len(getattr(context.data, name)) for name in ("train", "val", "test")},
        data_sha256=context.data.digest,
        mean=tuple(context.data.mean.tolist()),
        std=tuple(context.data.std.tolist()),
        stages=tuple(stages),
        delta_bytes=0,
        delta_sha256="",
        probe_sha256="",
        parent_sha256=context.parent,
        machine=machine(device, torch.get_num_threads()),
    )


def _counts(context: TaskContext, state: TaskState, released: int) -> tuple[int, int]:
    """Shared weights allocated, and released among them: of all models apart, or of the one network."""
    method, allocated = context.run.method, size(state.own)
    if method.claims == "column":  # what no column holds leads back from later ones, and does not exist
        return allocated - released, 0
    return allocated * (context.index if method.apart else 1), released
