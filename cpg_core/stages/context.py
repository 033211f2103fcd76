"""What the stages of one task have in common."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch

from cpg_core.config.method_settings import settings_of
from cpg_core.config.settings import Settings
from cpg_core.data.task import TaskData
from cpg_core.model.layers import Layers
from cpg_core.model.ownership import count, owned_before
from cpg_core.model.state import Shared, widened
from cpg_core.stages.method import Method
from cpg_core.stages.next_stage import Rules
from cpg_core.stages.source_hash import source_sha256
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.files import sha256
from cpg_core.storage.run import RECORD, Run
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Reporter


@dataclass(frozen=True)
class TaskContext:
    """A task, and all that its stages read.

    Attributes:
        run: the run.
        method: the run's method.
        index: the task's place in it, from 1.
        data: its images.
        before: the shared weights after the previous task.
        start: the weights of the task that this one is initialised from: as `before`, or of an independent network.
        previous: private parameters of that task; None for the first.
        parent: SHA-256 of the previous task's record; None for the first.
        reporter: told how it goes.
        ranks: the processes that do its stages together.
    """

    run: Run
    method: Method
    index: int
    data: TaskData
    before: Shared
    start: Shared
    previous: Layers | None
    parent: str | None
    reporter: Reporter
    ranks: Ranks = SINGLE_PROCESS

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
    def assembly(self) -> Assembly:
        """The model of the tasks before."""
        return self.method.assembly(self.run)

    @cached_property
    def rules(self) -> Rules:
        """What decides which stage is next."""
        left = len(self.run.spec.tasks) - self.index
        base = sum(shape.numel() for shape in self.run.shapes(1.0).values())
        owned_x = count(self.older(self.before)) / base
        return Rules(self.method, self.settings, self.index, left, self.before.budget_x, owned_x)

    @cached_property
    def key(self) -> str:
        """A hash of everything that any stage of this task depends on, besides the state that it reads."""
        spec = self.run.spec
        decides = self.data.val if spec.settings.goal_split == "val" else self.data.test
        content = {
            "code": source_sha256(methods=spec.method, backbones=spec.backbone),
            "torch": torch.__version__,
            "settings": settings_of(spec.method, spec.settings),
            "method": spec.method,
            "backbone": spec.backbone,
            "seed": spec.seed,
            "goal": self.goal,
            "task": [self.index, len(spec.tasks), self.data.train.digest, decides.digest],
            "parent": self.parent,
        }
        return hash_of(content)

    def shared(self, budget_x: float) -> Shared:
        """The shared weights before this task, at a budget. Not to be written to."""
        return self._at("before", self.before, budget_x)

    def starting(self, budget_x: float) -> Shared:
        """The weights that this task is initialised from, at a budget. Not to be written to."""
        return self.shared(budget_x) if self.start is self.before else self._at("start", self.start, budget_x)

    def _at(self, which: str, shared: Shared, budget_x: float) -> Shared:
        """The last width asked for is kept: all stages between two growths have the same."""
        if budget_x == shared.budget_x:
            return shared
        found = self._widened.get(which)
        if found is None or found.budget_x != budget_x:
            found = widened(shared, budget_x, self.run.shapes(budget_x))
            self._widened[which] = found
        return found

    @cached_property
    def _widened(self) -> dict[str, Shared]:
        return {}

    def older(self, shared: Shared) -> Layers:
        """Where a task before this one owns the weight."""
        return {name: owned_before(owner, self.index) for name, owner in shared.owner.items()}


def open_task(run: Run, method: Method, index: int, reporter: Reporter, ranks: Ranks = SINGLE_PROCESS) -> TaskContext:
    """Everything that the stages of task `index` need; tasks before it must be frozen."""
    assembly = method.assembly(run)
    before = assembly.shared()
    earlier = None if index == 1 else method.init_from(run.spec, index)
    added = None if earlier is None else run.delta(earlier)
    return TaskContext(
        run=run,
        method=method,
        index=index,
        data=run.data(index),
        before=before,
        start=before if earlier is None or added is None else assembly.base(before, run.record(earlier), added),
        previous=None if added is None else added.private,
        parent=None if index == 1 else sha256(run.task_folder(index - 1) / RECORD),
        reporter=reporter,
        ranks=ranks,
    )


def hash_of(content: object) -> str:
    """SHA-256 of a JSON value, as hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
