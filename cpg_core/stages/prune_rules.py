"""How far a task is pruned: towards rising targets, or not at all. A method's own rule stands in its file."""

from __future__ import annotations

from collections.abc import Sequence

from cpg_core.stages.prune_schedule import floor_sparsity, next_target
from cpg_core.stages.request import Rules
from cpg_core.storage.records import StageRecord


class NoPruning:
    """The task holds all that it trained."""

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:  # noqa: ARG002
        """None."""
        return None

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord]) -> int:  # noqa: ARG002
        """The state that was checked."""
        assert check.source is not None
        return check.source

    def available(self, own: int, unowned: int) -> int:  # noqa: ARG002
        """What it holds: nothing is ever released."""
        return own


class GradualPruning(NoPruning):
    """To the highest target that still meets the goal (section 3; Zhu and Gupta, 2018).

    With the goal missed at the largest budget it goes on to the sparsity that leaves later tasks an equal share, so
    that these find room.
    """

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:
        """The next of `prune.targets`, as long as the gate, the misses allowed and the room ask for one."""
        prune = rules.settings.prune
        reached = pruned[-1].target if pruned else None
        if not check.met:
            room = floor_sparsity(rules.tasks_left) if prune.leave_room else 0.0
            return None if (reached or 0.0) >= room else next_target(prune.targets, reached) or room
        if pruned and pruned[-1].gate is False:
            return None
        if prune.misses_allowed is not None and _misses_in_a_row(pruned) > prune.misses_allowed:
            return None
        return next_target(prune.targets, reached)

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord]) -> int:
        """The sparsest state that meets the goal; with the goal missed, the sparsest reached; else the unpruned one."""
        serving = [record.number for record in pruned if record.met or not check.met]
        return serving[-1] if serving else super().chosen(check, pruned)

    def available(self, own: int, unowned: int) -> int:  # noqa: ARG002
        """All that no earlier task owns, whether the task holds it or not."""
        return unowned


def _misses_in_a_row(pruned: Sequence[StageRecord]) -> int:
    hits = [place for place, record in enumerate(pruned) if record.met]
    return len(pruned) - (hits[-1] + 1 if hits else 0)
