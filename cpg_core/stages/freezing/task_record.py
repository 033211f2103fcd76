"""The record of a frozen task, made once and whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cpg_core.machine import device_of, machine
from cpg_core.model.network import width
from cpg_core.model.ownership import size
from cpg_core.model.state import TaskState, released_count
from cpg_core.stages.channels import living
from cpg_core.stages.context import TaskContext
from cpg_core.stages.freezing.stored_delta import Written
from cpg_core.storage.codecs import format_fields
from cpg_core.storage.files import digest
from cpg_core.storage.records import StageRecord, TaskRecord


@dataclass(frozen=True)
class Learned:
    """A task that is to be frozen.

    Attributes:
        state: of the chosen stage.
        written: its delta on disk.
        test_accuracy: of its network as it will be recalled; the test split was read for it, once.
        figures: what else its objective found there, and what it chose on the validation split, or where there is none
            on the test split.
        drawn: what pictures of what was found there are drawn from.
    """

    state: TaskState
    written: Written
    test_accuracy: float
    figures: dict[str, float]
    drawn: dict[str, Any]


def task_record(context: TaskContext, learned: Learned, stages: list[StageRecord], delta_bytes: int) -> TaskRecord:
    """The record of a task whose delta is written; the last of its `stages` is its freeze."""
    spec, settings, data, frozen = context.run.spec, context.settings, context.data, stages[-1]
    assert frozen.accuracy is not None and frozen.own is not None and frozen.sparsity is not None
    count = context.method.count
    allocated, released = count(size(learned.state.own), released_count(learned.written.after), context.index)
    return TaskRecord(
        index=context.index,
        name=context.name,
        task=data.spec.model_dump(mode="json", context={"folder": context.run.root}),
        method=spec.method,
        goal=context.goal,
        goal_split=settings.goal_split,
        goal_met=frozen.accuracy >= context.required_accuracy,
        accuracy=frozen.accuracy,
        test_accuracy=learned.test_accuracy,
        figures=learned.figures,
        budget_x=frozen.budget_x,
        allocated=allocated,
        base=sum(shape.numel() for shape in context.run.shapes(1.0).values()),
        own=frozen.own,
        released=released,
        sparsity=frozen.sparsity,
        picked=frozen.picked,
        living=living(context, learned.state),
        backbone=spec.backbone,
        width=width(settings.base_width, frozen.budget_x),
        classes=data.classes,
        images={name: len(getattr(data, name)) for name in ("train", "val", "test")},
        data_sha256=data.digest,
        mean=tuple(data.mean.tolist()),
        std=tuple(data.std.tolist()),
        stages=tuple(stages),
        delta_bytes=delta_bytes,
        delta_sha256=learned.written.sha256,
        probe_sha256=digest(learned.written.delta.probe),
        parent_sha256=context.parent,
        machine=machine(device_of(settings.compute.device), torch.get_num_threads()),
        **format_fields(learned.written.delta.codec, learned.written.stored.missed),
    )
