"""How far a task is pruned: towards rising targets, or not at all. A method's own rule stands in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cpg_core.stages.pruning.prune_schedule import floor_sparsity
from cpg_core.stages.request import Rules
from cpg_core.storage.records import StageRecord


class PruneRule:
    """The task holds all that it trained, but for what a rule says otherwise."""

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:  # noqa: ARG002
        """None."""
        return None

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> int:  # noqa: ARG002
        """The state that was checked."""
        assert check.source is not None
        return check.source

    def recovers(self, check: StageRecord, chosen: int, rules: Rules) -> bool:  # noqa: ARG002
        """Nothing was lost."""
        return False

    def available(self, own: int, unowned: int) -> int:  # noqa: ARG002
        """What it holds: nothing is ever released."""
        return own

    def settings_for(self, share: float | None, lr: float) -> dict[str, Any] | None:  # noqa: ARG002
        """Those of a task that is not pruned."""
        return {"prune": {"share": None, "targets": []}} if share is None else None


class NoPruning(PruneRule):
    """The task holds all that it trained."""


class GradualPruning(PruneRule):
    """To the highest target that still meets the goal (section 3; Zhu and Gupta, 2018), or to `prune.share`.

    A share that a person chose is pruned to once and kept, whether the goal is met or missed, whatever is reserved.

    With the goal missed at the largest budget it goes on to the sparsity that leaves later tasks an equal share, as
    far as the training-accuracy gate holds. `prune.min_sparsity` and `grow.reserve_x` ask for a least sparsity
    whatever is met; it is a target too.
    """

    def next_target(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> float | None:
        """The next target, while the gate, `misses_allowed` and `leave_room` allow one."""
        prune = rules.settings.prune
        if prune.share is not None:
            return None if pruned else prune.share
        least = least_sparsity(check, rules)
        targets = sorted({*prune.targets, least} - {0.0})
        reached = (pruned[-1].target or 0.0) if pruned else 0.0
        coming = next((target for target in targets if target > reached), None)
        if reached < least:
            return coming
        if pruned and pruned[-1].gate is False:
            return None
        if not check.met:
            rounded = prune.room_share == "rounded"
            room = floor_sparsity(rules.tasks_left, rounded=rounded) if prune.leave_room else 0.0
            if reached >= room:
                return None
            return coming or (room if room < 1 else None)
        if prune.misses_allowed is not None and _misses_in_a_row(pruned, least) > prune.misses_allowed:
            return None
        return coming

    def chosen(self, check: StageRecord, pruned: Sequence[StageRecord], rules: Rules) -> int:
        """The sparsest state that meets the goal, or, with the goal missed, that passes the gate; else the unpruned.

        Never one below the least sparsity; where none above it serves, the first that reaches it.
        """
        if rules.settings.prune.share is not None:
            return pruned[-1].number
        least = least_sparsity(check, rules)
        enough = [record for record in pruned if (record.target or 0.0) >= least]
        serving = [record.number for record in enough if (record.met if check.met else record.gate is not False)]
        if serving:
            return serving[-1]
        return enough[0].number if least > 0 else super().chosen(check, pruned, rules)

    def recovers(self, check: StageRecord, chosen: int, rules: Rules) -> bool:
        """Where a search has released weights and the settings give it epochs; a named share has had its own."""
        prune = rules.settings.prune
        return prune.share is None and prune.recover_epochs > 0 and chosen != check.source

    def available(self, own: int, unowned: int) -> int:  # noqa: ARG002
        """All that no earlier task owns, whether the task holds it or not."""
        return unowned

    def settings_for(self, share: float | None, lr: float) -> dict[str, Any] | None:
        """`prune.share`, with which it searches no other."""
        return super().settings_for(share, lr) if share is None else {"prune": {"share": share, "lr": lr}}


def least_sparsity(check: StageRecord, rules: Rules) -> float:
    """The sparsity that every task must reach: `prune.min_sparsity`, and what leaves `grow.reserve_x` released.

    A task that finds less than twice the reserve leaves half of what it found, so that however many are added later,
    each finds room.
    """
    reserve_x, available_x = rules.settings.grow.reserve_x, check.budget_x - rules.owned_x
    reserved = min(reserve_x / available_x, 0.5) if available_x > 0 else 0.0
    return max(rules.settings.prune.min_sparsity, reserved)


def _misses_in_a_row(pruned: Sequence[StageRecord], least: float) -> int:
    """Of the targets from the least on: those below it are not asked about."""
    asked = [record for record in pruned if (record.target or 0.0) >= least]
    hits = [place for place, record in enumerate(asked) if record.met]
    return len(asked) - (hits[-1] + 1 if hits else 0)
