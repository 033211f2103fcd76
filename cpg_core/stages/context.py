"""The stages of a task: each reads the state that an earlier one wrote, and writes its own.

A finished stage is a folder with `record.json` and, where it wrote a state, `state.safetensors`. It is used again
when its key and its bytes agree, so that a killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from pydantic import ValidationError

from cpg_core.config.schema import Strict
from cpg_core.config.settings import Settings
from cpg_core.data.reading import Progress
from cpg_core.data.task import TaskData
from cpg_core.methods import settings_of
from cpg_core.model.layers import Layers
from cpg_core.model.ownership import count, owned_before, size
from cpg_core.model.state import Shared, TaskState, widened
from cpg_core.seeds import derive
from cpg_core.stages.next_stage import Request, Rules
from cpg_core.stages.source_hash import code_sha256
from cpg_core.storage.files import Damaged, read_json, read_tensors, sha256, write_json, write_tensors
from cpg_core.storage.records import Epoch, StageRecord
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.ranks import ALONE, Ranks
from cpg_core.training.reporter import Interrupted, Reporter

STATE = "state.safetensors"


@dataclass(frozen=True)
class TaskContext:
    """What the stages of one task have in common.

    Attributes:
        run: the run.
        index: the task's place in it, from 1.
        data: its images.
        before: the shared weights after the previous task.
        start: the shared weights of the task that this one begins from: as `before`, or of a model apart.
        previous: private parameters of that task; None for the first.
        parent: SHA-256 of the previous task's record; None for the first.
        reporter: told how it goes.
        ranks: the processes that do its stages together.
    """

    run: Run
    index: int
    data: TaskData
    before: Shared
    start: Shared
    previous: Layers | None
    parent: str | None
    reporter: Reporter
    ranks: Ranks = ALONE

    @property
    def name(self) -> str:
        """The task's name."""
        return self.data.name

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.run.spec.settings

    @property
    def goal(self) -> float:
        """The accuracy that the task must reach."""
        return self.run.spec.goals[self.name]

    @property
    def rules(self) -> Rules:
        """What decides which stage is next."""
        left = len(self.run.spec.tasks) - self.index
        return Rules(self.run.method, self.settings, self.index, left, self.before.budget_x)

    @cached_property
    def key(self) -> str:
        """A hash of everything that any stage of this task depends on, besides the state that it reads."""
        spec = self.run.spec
        content = {
            "code": code_sha256(),
            "torch": torch.__version__,
            "settings": settings_of(self.run.method, spec.settings),
            "method": spec.method,
            "backbone": spec.backbone,
            "seed": spec.seed,
            "goal": self.goal,
            "task": [self.index, len(spec.tasks), self.data.train.digest, self.data.val.digest],
            "parent": self.parent,
        }
        return _hash(content)

    @property
    def progress(self) -> Progress:
        """Told as images are read outside training; raises `Interrupted` if the reporter asks to stop."""
        return _progress(self.reporter, self.name)

    def shared(self, budget_x: float) -> Shared:
        """The shared weights before this task, at a budget."""
        return self._at(self.before, budget_x)

    def started(self, budget_x: float) -> Shared:
        """The shared weights that this task begins from, at a budget."""
        return self._at(self.start, budget_x)

    def _at(self, shared: Shared, budget_x: float) -> Shared:
        return shared if budget_x == shared.budget_x else widened(shared, budget_x, self.run.shapes(budget_x))

    def older(self, shared: Shared) -> Layers:
        """Where a task before this one owns the weight."""
        return {name: owned_before(owner, self.index) for name, owner in shared.owner.items()}


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


Work = Callable[[TaskContext, Request, TaskState | None, Place], Outcome]


class Call(Strict):
    """A stage that the ranks are called to do together: of which task, which stage, and under which key."""

    index: int
    request: Request
    key: str


def open_task(run: Run, index: int, reporter: Reporter, ranks: Ranks = ALONE) -> TaskContext:
    """Everything that the stages of task `index` need; tasks before it must be frozen.

    Raises:
        CpgError: its images are missing, wrong or broken.
        Interrupted: the reporter asks to stop while they are read.
    """
    before, earlier = run.shared(), _earlier(run, index)
    added = None if earlier is None else run.delta(earlier)
    return TaskContext(
        run=run,
        index=index,
        data=run.data(index, _progress(reporter, run.spec.tasks[index - 1].name)),
        before=before,
        start=before if earlier is None or added is None else run.model(before, run.record(earlier), added),
        previous=None if added is None else added.private,
        parent=None if index == 1 else sha256(run.task_folder(index - 1) / RECORD),
        reporter=reporter,
        ranks=ranks,
    )


def _progress(reporter: Reporter, task: str) -> Progress:
    """Passes on how many images are read, and stops between two of them."""

    def progress(done: int, total: int) -> None:
        if reporter.reading(task, done, total):
            raise Interrupted

    return progress


def _earlier(run: Run, index: int) -> int | None:
    """The task that task `index` begins from; None: from nothing."""
    if index == 1 or run.method.begins == "fresh":
        return None
    if run.method.begins == "before":
        return index - 1
    return 1 + derive(run.spec.seed, "earlier", run.spec.tasks[index - 1].name) % (index - 1)


def folder_of(context: TaskContext, request: Request) -> Path:
    """Where a stage leaves its record and state: `work/<run>/002-fish/01-pick_train`."""
    return context.run.task_work(context.index) / f"{request.number:02d}-{request.stage}"


def run_stage(context: TaskContext, request: Request, work: Work) -> tuple[StageRecord, bool]:
    """Do a stage, or find it done: its record, and whether it was found."""
    folder = folder_of(context, request)
    source = None if request.source is None else stage_folder(context.run.task_work(context.index), request.source)
    key = _hash([context.key, request.__dict__, None if source is None else sha256(source / RECORD)])
    found = _finished(folder, key, context.reporter)
    if found is not None:
        context.reporter.stage_done(context.name, found, read_seconds(folder), reused=True)
        return found, True
    for stale in folder.parent.glob(f"{request.number:02d}-*"):
        if stale != folder:
            shutil.rmtree(stale)
    call = Call(index=context.index, request=request, key=key)
    with context.ranks.together(call.model_dump_json()):
        outcome = do_work(context, call, work)
    record = _record(context, request, outcome, key, folder)
    write_json(folder / "seconds.json", {"seconds": outcome.seconds})
    write_json(folder / RECORD, record.model_dump(mode="json"))
    for leftover in folder.glob("at-*"):
        leftover.unlink()
    context.reporter.stage_done(context.name, record, outcome.seconds, reused=False)
    return record, False


def do_work(
    context: TaskContext, call: Call, work: Work, snapshots: Callable[[Path, str], Snapshots] = Snapshots
) -> Outcome:
    """What a stage finds, worked out from what is on disk: so every rank comes to the same."""
    folder, request = folder_of(context, call.request), call.request
    state = None
    if request.source is not None:
        source = stage_folder(context.run.task_work(context.index), request.source)
        state = read_state(source, context.run.shapes(request.budget_x))
    return work(context, request, state, Place(folder, call.key, snapshots(folder, call.key)))


def read_seconds(folder: Path) -> float:
    """How long a finished stage took, over all attempts."""
    return float(read_json(folder / "seconds.json")["seconds"])


def read_state(folder: Path, shapes: dict[str, torch.Size]) -> TaskState:
    """The state that a finished stage left; a check's is that of the stage it looked at."""
    record = StageRecord.model_validate(read_json(folder / RECORD))
    assert record.state_sha256 is not None
    tensors = read_tensors(folder / STATE, record.state_sha256)
    private = {name.removeprefix("private:"): value for name, value in tensors.items() if name.startswith("private:")}
    return TaskState(
        budget_x=record.budget_x,
        own={name: tensors[f"own:{name}"] for name in shapes},
        value={name: tensors[f"value:{name}"] for name in shapes},
        pick={name: tensors[f"pick:{name}"] for name in shapes},
        private=private,
    )


def read_record(task_work: Path, number: int) -> StageRecord:
    """The record of finished stage `number` of a task."""
    return StageRecord.model_validate(read_json(stage_folder(task_work, number) / RECORD))


def stage_folder(task_work: Path, number: int) -> Path:
    """The folder of finished stage `number` of a task."""
    found = sorted(task_work.glob(f"{number:02d}-*"))
    if not found:
        raise Damaged(f"{task_work}: the output of stage {number} is gone; give the same command again")
    return found[0]


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
        layers = {"own": state.own, "value": state.value, "pick": state.pick, "private": state.private}
        tensors = {f"{group}:{name}": value for group, named in layers.items() for name, value in named.items()}
        state_sha256 = write_tensors(folder / STATE, tensors)
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
    available = own if context.run.method.prune == "none" else size(shared.owner) - older
    return {
        "own": own,
        "sparsity": 1 - own / available if available else 0.0,
        "picked": count(state.pick) / older if older else None,
    }


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
