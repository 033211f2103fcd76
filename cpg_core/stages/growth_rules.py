"""When the network is widened: after a missed goal, or never. A method's own rule stands in its file."""

from __future__ import annotations

from cpg_core.config.settings import Settings
from cpg_core.stages.request import Rules
from cpg_core.storage.records import StageRecord


class GrowthRule:
    """The network keeps its width, but for what a rule says otherwise."""

    def may_grow(self, settings: Settings) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def at_start(self, rules: Rules) -> float | None:  # noqa: ARG002
        """Never."""
        return None

    def on_miss(self, check: StageRecord, rules: Rules) -> tuple[float, int | None] | None:  # noqa: ARG002
        """Never."""
        return None


class NoGrowth(GrowthRule):
    """The network keeps its width."""


class GrowOnMiss(GrowthRule):
    """Widen by `grow.step_x` after each miss, up to `grow.max_x`; the task then begins anew (Algorithm 1)."""

    def may_grow(self, settings: Settings) -> bool:
        """Unless its largest budget is that which there is."""
        return settings.grow.max_x > 1

    def on_miss(self, check: StageRecord, rules: Rules) -> tuple[float, int | None] | None:
        """The next budget."""
        grow = rules.settings.grow
        if check.budget_x >= grow.max_x or (rules.index == 1 and not grow.first_task):
            return None
        return wider(check.budget_x, grow.step_x, rules), None


def wider(budget_x: float, step_x: float, rules: Rules) -> float:
    """A budget greater by a step, but not above the largest."""
    return min(round(budget_x + step_x, 6), rules.settings.grow.max_x)
