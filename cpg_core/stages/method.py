"""What a method is: a record of functions that the stages call where methods differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from cpg_core.model.state import TaskState
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.records import StageName, StageRecord
from cpg_core.storage.run import Run, RunSpec
from cpg_core.training.loop import Penalty, no_penalty

if TYPE_CHECKING:
    from cpg_core.stages.context import TaskContext
    from cpg_core.stages.next_stage import Request, Rules
    from cpg_core.stages.stage import Stage


class Growth(Protocol):
    """When and how far a task widens the network. Budgets are in units of the base network's shared weights."""

    def at_start(self, rules: Rules) -> float | None:
        """The budget to grow to before the task is trained; None: it begins at the width that there is."""
        ...

    def on_miss(self, check: StageRecord, rules: Rules) -> tuple[float, int | None] | None:
        """After a missed goal: the budget, and the stage whose state is widened (None: the task begins anew).

        None: the task does not grow.
        """
        ...


class Pruning(Protocol):
    """How far a task is pruned. `pruned` are the prune stages since `check`, in order."""

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:
        """The sparsity to prune to next; None: no further prune."""
        ...

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> int:
        """The number of the stage whose state is kept."""
        ...

    def available(self, own: int, unowned: int) -> int:
        """What the task's sparsity is a share of: `own` weights that it holds, `unowned` by earlier tasks."""
        ...


def released_weights(older: Tensor, index: int, grown_from: int) -> Tensor:  # noqa: ARG001  (as every such function)
    """All that no earlier task owns."""
    return ~older


def previous_task(spec: RunSpec, index: int) -> int | None:  # noqa: ARG001
    """The task before."""
    return index - 1


def fresh_where_random(index: int, released_init: str) -> bool:
    """Released weights begin as `released_init` says; those of task 1 are always fresh."""
    return index == 1 or released_init == "random"


def picks_nothing(index: int) -> bool:  # noqa: ARG001
    """Every weight of an earlier task is used."""
    return False


def without_penalty(context: TaskContext, state: TaskState) -> Penalty:  # noqa: ARG001
    """The loss of the task alone."""
    return no_penalty


def freeze_next(done: Sequence[StageRecord], chosen: int, rules: Rules) -> Request | None:  # noqa: ARG001
    """Nothing comes between pruning and the freeze."""
    return None


def weights_of_one_network(size: int, released: int, index: int) -> tuple[int, int]:  # noqa: ARG001
    """All weights of the network count, and those that no task owns are released."""
    return size, released


@dataclass(frozen=True)
class Method:
    """A method, as functions. The defaults share one network, train what is released, and neither grow nor prune.

    Attributes:
        name: as given to `--method`; the name of its file.
        source: the publication.
        stages: what does each stage.
        growth: when and how far the network is widened.
        pruning: how far the task is pruned.
        overwrites: a task trains over the weights of earlier ones, so the method must fail the unforgetting law.
        independent: each task has a network of its own, so nothing is shared and nothing can be forgotten.
        trainable: of a layer, `(older, index, grown_from)` to what task `index` trains (bool, the layer's shape), where
            `older` (bool) is owned by earlier tasks and `grown_from` its output units before the task.
        init_from: the earlier task whose weights and private parameters a later task starts from; None: none.
        fresh_init: `(index, released_init)` to whether trained weights start fresh rather than as they are.
        learns_picks: whether task `index` learns which weights of earlier tasks it uses; otherwise it uses all.
        penalty: what is added to the loss of a task after the first, given the state that it starts from.
        after_pruning: `(stages done, number of the chosen one, rules)` to the stage before the freeze; None: none.
        count: `(weights of the network, released ones, index)` to those allocated and those released, over all tasks.
    """

    name: str
    source: str
    stages: Mapping[StageName, Stage]
    growth: Growth
    pruning: Pruning
    overwrites: bool = False
    independent: bool = False
    trainable: Callable[[Tensor, int, int], Tensor] = released_weights
    init_from: Callable[[RunSpec, int], int | None] = previous_task
    fresh_init: Callable[[int, str], bool] = fresh_where_random
    learns_picks: Callable[[int], bool] = picks_nothing
    penalty: Callable[[TaskContext, TaskState], Penalty] = without_penalty
    after_pruning: Callable[[Sequence[StageRecord], int, Rules], Request | None] = freeze_next
    count: Callable[[int, int, int], tuple[int, int]] = weights_of_one_network

    def assembly(self, run: Run) -> Assembly:
        """The model that a run's frozen tasks make up."""
        return Assembly(run, overwrites=self.overwrites, independent=self.independent)


def every_weight(older: Tensor, index: int, grown_from: int) -> Tensor:  # noqa: ARG001
    """All weights of the layer, whoever trained them before."""
    return torch.ones_like(older)


def fresh_for_the_first(index: int, released_init: str) -> bool:  # noqa: ARG001
    """Task 1 begins from fresh weights, every later one from those of an earlier task."""
    return index == 1
