"""What a stage is called with: a task and its method. The two know each other, so they stand together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from cpg_core import objectives
from cpg_core.config.method_settings import settings_of
from cpg_core.config.settings import Settings
from cpg_core.data.reading.reading import Progress
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.ownership import count, owned_before
from cpg_core.model.state import Shared, TaskState, widened
from cpg_core.objectives import Objective
from cpg_core.stages import method_parts
from cpg_core.stages.request import Growth, Pruning, Request, Rules
from cpg_core.stages.source_hash import code_of
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.files import hash_of
from cpg_core.storage.records import Epoch, StageName, StageRecord
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Reporter, reading_progress
from cpg_core.training.step import Penalty, no_penalty

Fields = dict[str, float | bool | None]
NOT_IN_KEY = {"name", "source", "classes", "pairs", "validation", "goal", "settings"}
"""Task fields whose effect is already in the key through digests, goal or settings."""


@dataclass(frozen=True)
class Outcome:
    """What a stage found: the state that it leaves, and the fields of its record that are its own."""

    state: TaskState | None = None
    fields: Fields = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0


Stage = Callable[["TaskContext", Request, TaskState | None, Snapshots], Outcome]


def without_penalty(context: TaskContext, state: TaskState) -> Penalty:  # noqa: ARG001
    """The loss of the task alone."""
    return no_penalty


@dataclass(frozen=True)
class Method:
    """A method, as functions. The defaults: one shared network, in which a task trains what is released and uses all.

    Attributes:
        name: as given to `--method`; the name of its file.
        source: the publication.
        stages: what does each stage.
        growth: when and how far the network is widened.
        pruning: how far the task is pruned.
        chain_only: the backbone must be a chain of layers, each of which reads the one before it alone.
        classes_only: it takes what an earlier task answers for logits of classes, so no task may compare pairs.
        overwrites: a task trains over the weights of earlier ones, so the method must fail the unforgetting law.
        independent: each task has a network of its own, so nothing is shared and nothing can be forgotten.
        trainable: of a layer, `(older, index, grown_from)` to what task `index` trains (bool, the layer's shape), where
            `older` (bool) is owned by earlier tasks and `grown_from` its output units before the task.
        init_from: the earlier task whose weights and private parameters a later task starts from; None: none.
        fresh_init: `(index, released_init)` to whether trained weights start fresh rather than as they are.
        learns_picks: whether task `index` learns which weights of earlier tasks it uses; otherwise it uses all.
        penalty: what is added to the loss of a task after the first, given the state that it starts from.
        after_pruning: `(stages done, number of the chosen one, rules)` to the stage before the freeze; None: none.
        epochs: `(stage, settings)` to how long it trains at the most.
        steps_alike: a step of a later task costs what one of the first costs, so that a forecast may rest on it.
        count: `(weights of the network, released ones, index)` to those allocated and those released, over all tasks.
    """

    name: str
    source: str
    stages: Mapping[StageName, Stage]
    growth: Growth
    pruning: Pruning
    chain_only: bool = False
    classes_only: bool = False
    overwrites: bool = False
    independent: bool = False
    trainable: Callable[[Tensor, int, int], Tensor] = method_parts.released_weights
    init_from: Callable[[RunSpec, int], int | None] = method_parts.previous_task
    fresh_init: Callable[[int, str], bool] = method_parts.fresh_where_random
    learns_picks: Callable[[int], bool] = method_parts.picks_nothing
    penalty: Callable[[TaskContext, TaskState], Penalty] = without_penalty
    after_pruning: Callable[[Sequence[StageRecord], int, Rules], Request | None] = method_parts.freeze_next
    epochs: Callable[[StageName, Settings], int] = method_parts.most_epochs
    steps_alike: bool = True
    count: Callable[[int, int, int], tuple[int, int]] = method_parts.weights_of_one_network

    def sparsity(self, own: int, unowned: int) -> float:
        """The share of what a task could hold that it released, given its weights and those of no earlier task."""
        available = self.pruning.available(own, unowned)
        return 1 - own / available if available else 0.0

    def assembly(self, run: Run) -> Assembly:
        """The model that a run's frozen tasks make up."""
        return Assembly(run, overwrites=self.overwrites, independent=self.independent)


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

    @cached_property
    def settings(self) -> Settings:
        """The task's settings: the run's, but for its own."""
        return self.run.settings(self.index)

    @property
    def imitates(self) -> bool:
        """Whether its labels are what the imported network answered."""
        return self.data.spec.source.imitates

    @property
    def goal(self) -> float:
        """The accuracy that the task must reach."""
        return self.run.spec.goals[self.name]

    @property
    def required_accuracy(self) -> float:
        """The accuracy that meets the goal: less its tolerance and its rounding."""
        return self.run.required_accuracy(self.name)

    @cached_property
    def objective(self) -> Objective:
        """What the task's network ends in, minimises and is measured by, as it is trained.

        Raises:
            CpgError: its settings do not fit its classes.
        """
        counts = self.data.train.labels.bincount(minlength=len(self.data.classes))
        try:
            return objectives.of(self.data.spec, counts.tolist())
        except CpgError as error:
            raise CpgError(f"task '{self.name}': {error}") from error

    @property
    def progress(self) -> Progress:
        """Told as images are read outside training; raises `Interrupted` if the reporter asks to stop."""
        return reading_progress(self.reporter, self.name)

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
        spec = self.run.spec
        imports = self.index == 1 and spec.backbone.weights is not None and not spec.forgotten
        return Rules(self.settings, self.index, left, self.before.budget_x, owned_x, imports)

    @cached_property
    def key(self) -> str:
        """A hash of everything that any stage of this task depends on, besides the state that it reads."""
        spec = self.run.spec
        decides = self.data.deciding(self.settings.goal_split)
        content = {
            "code": code_of(spec, self.data.spec.kind),
            "torch": torch.__version__,
            "settings": settings_of(spec.method, self.settings),
            "method": spec.method,
            "backbone": spec.backbone.content(),
            "seed": spec.seed,
            "goal": self.goal,
            "task": [self.index, len(spec.tasks), self.data.train.digest, decides.digest],
            "images": self.data.spec.model_dump(mode="json", exclude=NOT_IN_KEY),
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
