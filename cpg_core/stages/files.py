"""The folder of a finished stage: `record.json`, `seconds.json` and, where it leaves a state, `state.safetensors`."""

from __future__ import annotations

from pathlib import Path

import torch

from cpg_core.model.state import TaskState
from cpg_core.stages.context import TaskContext
from cpg_core.stages.request import Request
from cpg_core.storage.files import Damaged, read_json, read_tensors, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import RECORD, SECONDS

STATE = "state.safetensors"


def folder_of(context: TaskContext, request: Request) -> Path:
    """Where a stage leaves its record and state: `work/<run>/002-fish/01-pick_train`."""
    return context.run.task_work(context.index) / request.label


def stage_folder(task_work: Path, number: int) -> Path:
    """The folder of finished stage `number` of a task."""
    found = sorted(task_work.glob(f"{number:02d}-*"))
    if not found:
        raise Damaged(f"{task_work}: the output of stage {number} is gone; give the same command again")
    return found[0]


def read_record(task_work: Path, number: int) -> StageRecord:
    """The record of finished stage `number` of a task."""
    return StageRecord.model_validate(read_json(stage_folder(task_work, number) / RECORD))


def read_seconds(folder: Path) -> float:
    """How long a finished stage took, over all attempts."""
    return float(read_json(folder / SECONDS)["seconds"])


def write_state(folder: Path, state: TaskState) -> str:
    """Write the state that a stage leaves and return the file's SHA-256."""
    groups = {"own": state.own, "value": state.value, "pick": state.pick, "private": state.private}
    return write_tensors(folder / STATE, flatten(groups))


def read_state(folder: Path, shapes: dict[str, torch.Size]) -> TaskState:
    """The state that a finished stage left; its layers are in the order of `shapes`."""
    record = StageRecord.model_validate(read_json(folder / RECORD))
    assert record.state_sha256 is not None
    tensors = read_tensors(folder / STATE, record.state_sha256)
    own, value, pick, private = unflatten(tensors, "own", "value", "pick", "private")
    return TaskState(
        budget_x=record.budget_x,
        own={name: own[name] for name in shapes},
        value={name: value[name] for name in shapes},
        pick={name: pick[name] for name in shapes},
        private=private,
    )
