"""What a stage is called: budgets as people write them."""

from __future__ import annotations

from cpg_core.storage.records import StageRecord
from flows.console.stage_labels import stage_label


def test_a_budget_is_told_without_the_noise_of_its_sum() -> None:
    before = StageRecord(number=1, stage="pick_train", source=None, budget_x=1.1, key="")
    grow = before.model_copy(update={"number": 2, "stage": "grow", "budget_x": 1.1 * 1.1})
    assert f"{grow.budget_x}" == "1.2100000000000002"  # the control
    assert stage_label("fish", grow, before) == "grow fish x1.1 -> x1.21"
    assert stage_label("fish", before.model_copy(update={"budget_x": 1.0}), None) == "pick-train fish x1.0"
