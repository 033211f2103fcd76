"""DEN: what is selected, what an expansion leaves alone, and what a split puts back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cpg_core.den import selected
from cpg_core.errors import CpgError
from cpg_core.layers import corner
from cpg_core.network import build, shared_parameters
from cpg_core.records import StageRecord
from cpg_core.run import Run

MISSES = ("check.min_train_accuracy=1.0", "grow.max_x=2.0", "den.step_x=0.5", "den.drift=1.0e9")
DRIFTS = ("grow.max_x=2.0", "den.step_x=0.5", "den.drift=1.0e-6")


def stages(run: Run, index: int) -> list[StageRecord]:
    return list(run.record(index).stages)


def test_what_leads_to_the_head_by_weights_other_than_0_is_selected() -> None:
    network = build("digits_cnn", 0.5, 2, "den")
    _, second, hidden = shared_parameters(network).values()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[1, 3] = 1.0  # rests on hidden unit 3 alone
        hidden[3].zero_()
        hidden[3, 5] = 1.0  # on one place of the map of unit 1
        second[1, 2:] = 0.0  # on units 0 and 1 of the first layer
    found = list(selected(network).values())
    assert found[2].nonzero().tolist() == [[3, 5]]
    assert found[1].flatten(2).any(dim=2).nonzero().tolist() == [[1, 0], [1, 1]]
    assert found[0].flatten(1).any(dim=1).nonzero().flatten().tolist() == [0, 1]
    with torch.no_grad():
        network.head.weight[0, 0] = 1.0
    assert int(selected(network)["9.weight"].sum()) > 1, "another unit that the head rests on adds what leads to it"


def test_a_backbone_that_is_no_chain_is_told() -> None:
    network = build("digits_cnn", 0.5, 2, "den")
    network.head = torch.nn.Linear(7, 2)
    with pytest.raises(CpgError, match="chain of layers"):
        selected(network)


def test_a_missed_goal_adds_units_once_a_task_and_trains_them_alone(learned: Callable[..., Run]) -> None:
    run = learned(method="den", tasks="1-3", overrides=MISSES)
    names = [[stage.stage for stage in stages(run, index)] for index in (1, 2, 3)]
    grown = ["pick_train", "check", "grow", "pick_train", "check", "freeze"]
    assert names == [["pick_train", "check", "freeze"], grown, grown]
    assert [record.budget_x for record in run.records()] == [1.0, 1.5, 2.0]


def test_the_network_never_outgrows_its_largest_budget(learned: Callable[..., Run]) -> None:
    run = learned(method="den", tasks="1-3", overrides=(*MISSES, "grow.max_x=1.5"))
    assert [record.budget_x for record in run.records()] == [1.0, 1.5, 1.5]
    assert "grow" not in [stage.stage for stage in stages(run, 3)]


def test_units_that_drifted_get_their_weights_back_as_far_as_there_is_room(learned: Callable[..., Run]) -> None:
    run = learned(method="den", tasks="1-2", overrides=DRIFTS)
    assert [stage.stage for stage in stages(run, 2)] == ["pick_train", "check", "split", "freeze"]
    assert restored(run) > 0
    assert restored(learned(method="den", tasks="1-2", overrides=(*DRIFTS, "den.drift=1.0e9"))) == 0, "none drifted"


def restored(run: Run) -> int:
    """Units of the last hidden layer whose weights are the same bits after task 2 as after task 1.

    With selective retraining of everything, a unit that was not put back has moved.
    """
    before, after = run.rebuild(1).weight, run.rebuild(2).weight
    name = list(before)[-1]
    same = corner(after[name], before[name].shape) == before[name]
    return int((same | (before[name] == 0)).all(dim=1).sum())
