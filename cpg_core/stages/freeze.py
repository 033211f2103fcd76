"""Freeze: what the task has learned becomes its delta and its record, and is never written again."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace

import torch

from cpg_core.machine import device_of, machine
from cpg_core.model.network import Network, width
from cpg_core.model.ownership import size
from cpg_core.model.state import Shared, TaskState, loaded_network, released_count
from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_record, read_seconds, read_state, stage_folder
from cpg_core.stages.frozen_tasks import probe_of, recheck, split_accuracy
from cpg_core.stages.request import Request
from cpg_core.stages.run_stage import measures
from cpg_core.storage import delta as deltas
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import digest, sha256, sweep, write_json
from cpg_core.storage.records import StageRecord, TaskRecord
from cpg_core.storage.run import DELTA, RECALL, RECORD, SECONDS
from cpg_core.training.evaluation import probe_logits


@dataclass(frozen=True)
class Learned:
    """A task that is to be frozen.

    Attributes:
        state: of the chosen stage.
        delta: what the task adds, its probe logits included.
        after: the shared weights with the task's own.
        test_accuracy: of its network as it will be recalled; the test split was read for it, once.
    """

    state: TaskState
    delta: Delta
    after: Shared
    test_accuracy: float


def freeze(context: TaskContext, request: Request) -> StageRecord:
    """Write the task's delta and record, check every earlier task on the new shared weights, drop the work.

    The record is written last: without it the task is not frozen.
    """
    began = time.monotonic()
    assembly, folder = context.assembly, context.run.task_folder(context.index)
    learned = _learned(context, request)
    stages = _stages(context, request, learned.state)
    delta_sha256 = deltas.write(folder / DELTA, learned.delta)
    record = _record(context, learned, stages, delta_sha256, (folder / DELTA).stat().st_size)
    earlier = recheck(assembly, learned.after, context.index - 1)
    write_json(folder / RECALL, {"earlier": [recall.model_dump(mode="json") for recall in earlier]})
    seconds = _seconds(context, stages, began)
    write_json(folder / SECONDS, seconds)
    sweep(folder)  # what is frozen are four files: all that is in the folder goes into DVC's pointer
    write_json(folder / RECORD, record.model_dump(mode="json"))
    assembly.cache(learned.after, sha256(folder / RECORD))
    shutil.rmtree(context.run.task_work(context.index), ignore_errors=True)
    context.reporter.stage_done(context.name, stages[-1], list(seconds.values())[-1], reused=False)
    context.reporter.task_done(record)
    return stages[-1]


def _learned(context: TaskContext, request: Request) -> Learned:
    assert request.source is not None
    run, index, overwrites = context.run, context.index, context.method.overwrites
    state = read_state(stage_folder(run.task_work(index), request.source), run.shapes(request.budget_x))
    before = context.shared(request.budget_x)
    delta = deltas.make(before, state, index, overwrites=overwrites)
    after = deltas.apply(before, delta, index, overwrites=overwrites)
    network = _recalled_network(context, after, delta)
    data = context.data
    return Learned(
        state=state,
        delta=replace(delta, probe=probe_logits(network, probe_of(run))),
        after=after,
        test_accuracy=split_accuracy(run, network, data.test, data.mean, data.std, context.progress),
    )


def _recalled_network(context: TaskContext, after: Shared, delta: Delta) -> Network:
    """The task's network as it will be recalled: put together from its delta, not from its state."""
    spec, method = context.run.spec, context.method
    weights = deltas.recalled(after, delta, context.index, overwrites=method.overwrites)
    at, classes = width(spec.settings.base_width, after.budget_x), len(context.data.classes)
    device = device_of(spec.settings.compute.device)
    return loaded_network(spec.backbone, at, classes, weights, delta.private, device).eval()


def _stages(context: TaskContext, request: Request, state: TaskState) -> list[StageRecord]:
    """The records of all stages of the task, its freeze the last."""
    assert request.source is not None
    done = [read_record(context.run.task_work(context.index), number) for number in range(1, request.number)]
    frozen = StageRecord(
        number=request.number,
        stage="freeze",
        source=request.source,
        budget_x=request.budget_x,
        accuracy=done[request.source - 1].accuracy,
        key=context.key,
        **measures(context, state),
    )
    return [*done, frozen]


def _record(
    context: TaskContext, learned: Learned, stages: list[StageRecord], delta_sha256: str, delta_bytes: int
) -> TaskRecord:
    spec, settings, data, frozen = context.run.spec, context.settings, context.data, stages[-1]
    assert frozen.accuracy is not None and frozen.own is not None and frozen.sparsity is not None
    count = context.method.count
    allocated, released = count(size(learned.state.own), released_count(learned.after), context.index)
    return TaskRecord(
        index=context.index,
        name=context.name,
        task=data.spec.model_dump(mode="json", context={"folder": context.run.root}),
        method=spec.method,
        goal=context.goal,
        goal_split=settings.goal_split,
        goal_met=frozen.accuracy >= context.goal - settings.check.tolerance,
        accuracy=frozen.accuracy,
        test_accuracy=learned.test_accuracy,
        budget_x=frozen.budget_x,
        allocated=allocated,
        base=sum(shape.numel() for shape in context.run.shapes(1.0).values()),
        own=frozen.own,
        released=released,
        sparsity=frozen.sparsity,
        picked=frozen.picked,
        backbone=spec.backbone,
        width=width(settings.base_width, frozen.budget_x),
        classes=data.classes,
        images={name: len(getattr(data, name)) for name in ("train", "val", "test")},
        data_sha256=data.digest,
        mean=tuple(data.mean.tolist()),
        std=tuple(data.std.tolist()),
        stages=tuple(stages),
        delta_bytes=delta_bytes,
        delta_sha256=delta_sha256,
        probe_sha256=digest(learned.delta.probe),
        parent_sha256=context.parent,
        machine=machine(device_of(settings.compute.device), torch.get_num_threads()),
    )


def _seconds(context: TaskContext, stages: list[StageRecord], began: float) -> dict[str, float]:
    """How long each stage took, in order, by `01-pick_train` and so on."""
    work = context.run.task_work(context.index)
    names = [f"{stage.number:02d}-{stage.stage}" for stage in stages]
    seconds = {name: read_seconds(work / name) for name in names[:-1]}
    return {**seconds, names[-1]: time.monotonic() - began}
