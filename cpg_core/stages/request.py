"""A stage that is asked for, and what decides it: the rules of a task, and a method's growth and pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cpg_core.config.settings import Settings
from cpg_core.storage.records import StageName, StageRecord, stage_label


@dataclass(frozen=True)
class Rules:
    """What the decisions about one task rest on.

    Attributes:
        tasks_left: how many come after it.
        imports: the task is a pretrained network.
        budget_x: of the network before the task.
        owned_x: weights that earlier tasks own over the base network's shared weights.
    """

    settings: Settings
    index: int
    tasks_left: int
    budget_x: float
    owned_x: float = 0.0
    imports: bool = False


@dataclass(frozen=True)
class Request:
    """A stage to run, on the state that stage number `source` wrote (None: on the shared weights as they are)."""

    stage: StageName
    number: int
    source: int | None
    budget_x: float
    target: float | None = None

    @property
    def label(self) -> str:
        """As of `stage_label`."""
        return stage_label(self.number, self.stage)


class Growth(Protocol):
    """When and how far a task widens the network. Budgets are in units of the base network's shared weights."""

    def may_grow(self, settings: Settings) -> bool:
        """Whether any task could, under these settings."""
        ...

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

    def recovers(self, check: StageRecord, chosen: int, rules: Rules) -> bool:
        """Whether the chosen state trains on before anything else is done with it."""
        ...

    def available(self, own: int, unowned: int) -> int:
        """What the task's sparsity is a share of: `own` weights that it holds, `unowned` by earlier tasks."""
        ...

    def settings_for(self, share: float | None, lr: float) -> dict[str, Any] | None:
        """Settings of a task pruned to one share (None: not at all); None: this rule cannot.

        `lr` is that of the training after it.
        """
        ...
