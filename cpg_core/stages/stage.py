"""What a stage is: a function from a state to another state and the facts of its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cpg_core.config.schema import Strict
from cpg_core.model.state import TaskState
from cpg_core.stages.context import TaskContext
from cpg_core.stages.next_stage import Request
from cpg_core.storage.records import Epoch
from cpg_core.storage.snapshot import Snapshots

Fields = dict[str, float | bool | None]


@dataclass(frozen=True)
class Outcome:
    """What a stage found: the state that it leaves, and the fields of its record that are its own."""

    state: TaskState | None = None
    fields: Fields = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """A stage's folder, key and snapshots, handed to the function that does its work."""

    folder: Path
    key: str
    snapshots: Snapshots


Stage = Callable[[TaskContext, Request, TaskState | None, Place], Outcome]


class Call(Strict):
    """A stage that the ranks are called to do together: of which task, which stage, and under which key."""

    index: int
    request: Request
    key: str
