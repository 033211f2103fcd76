"""DEN: what is selected, what an expansion leaves alone, and what a split puts back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of, den, find
from cpg_core.methods.den import selected
from cpg_core.model.layers import leading_block
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.model.state import TaskState
from cpg_core.objectives.classification import OBJECTIVE
from cpg_core.runner import execute, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.files import read_state, stage_folder
from cpg_core.stages.open_task import open_task
from cpg_core.stages.request import Request
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.reporter import Silent

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


def test_the_head_is_shrunk_until_the_selection_and_not_after_it() -> None:
    network = build("digits_cnn", 0.5, 2, "den")
    freed: list[str] = []
    optimizer = cast(TaskOptimizer, SimpleNamespace(set_trainable=lambda name, _: freed.append(name)))
    select, before = den.Select(steps=3, strength=0.1), network.head.weight.detach().clone()
    for done in (3, 4):
        select(network, optimizer, done, 0.5)
        assert torch.equal(network.head.weight, torch.nn.functional.softshrink(before, 0.05))
        assert freed == list(shared_parameters(network))


class Layer(nn.Module):
    """A backbone of one layer of three units."""

    out_features = 3

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3, bias=False)
        self.layer.weight.data.copy_(torch.tensor(weight))


def test_the_weights_into_each_added_unit_shrink_together_and_stay_at_0() -> None:
    """By rate times strength, 0.5 * 2 = 1, of their norm: 5 becomes 4, and 0.5 would pass 0."""
    network = Network(Layer([[3.0, 4.0], [3.0, 4.0], [0.3, 0.4]]), 2, OBJECTIVE)
    den.ShrinkUnits(2.0, {"layer.weight": 1})(network, cast(TaskOptimizer, None), 1, 0.5)
    (weight,) = shared_parameters(network).values()
    torch.testing.assert_close(weight.detach(), torch.tensor([[3.0, 4.0], [2.4, 3.2], [0.0, 0.0]]))
    assert weight[2].tolist() == [0.0, 0.0]


def test_a_unit_that_drifted_gets_its_weights_back_and_its_copy_reads_and_is_read_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unit 0 of `a` went from 1 to 5, and unit 2 is of nobody. `b` reads two places of each unit of `a`."""
    a, b = "a.weight", "b.weight"
    before = {a: torch.tensor([[1.0], [2.0]]), b: torch.tensor([[10.0, 10.0, 20.0, 20.0]])}
    now = {a: torch.tensor([[5.0], [2.0], [0.0]]), b: torch.tensor([[11.0, 12.0, 20.0, 21.0, 0.0, 0.0], [0.0] * 6])}
    everything = {name: weight != 0 for name, weight in now.items()}
    state = TaskState(2.0, everything, now, {}, {})
    settings = SimpleNamespace(den=SimpleNamespace(drift=0.5, split_epochs=1), prune=SimpleNamespace(lr=0.1))
    context = cast(TaskContext, SimpleNamespace(before=SimpleNamespace(weight=before), settings=settings))
    begun: list[TaskState] = []
    monkeypatch.setattr(den, "plan_of", lambda *_: None)
    monkeypatch.setattr(den, "_train_some", lambda _context, state, *_: begun.append(state))
    den.split(context, Request("split", 4, 3, 2.0), state, cast(Snapshots, None))
    assert begun[0].value[a].tolist() == [[1.0], [2.0], [5.0]]
    assert begun[0].value[b].tolist() == [[11.0, 12.0, 20.0, 21.0, 11.0, 12.0], [0.0] * 6]


def test_with_no_step_for_the_head_alone_it_selects_after_the_first() -> None:
    freed: list[str] = []
    optimizer = cast(TaskOptimizer, SimpleNamespace(set_trainable=lambda name, _: freed.append(name)))
    den.Select(steps=0, strength=0.1)(build("digits_cnn", 0.5, 2, "den"), optimizer, 1, 0.5)
    assert freed


def test_a_backbone_that_is_no_chain_is_told() -> None:
    network = build("digits_cnn", 0.5, 2, "den")
    network.head = torch.nn.Linear(7, 2)
    with pytest.raises(CpgError, match="chain of layers"):
        selected(network)


def test_a_missed_goal_adds_units_once_a_task(learned: Callable[..., Run]) -> None:
    run = learned(method="den", tasks="1-3", overrides=MISSES)
    names = [[stage.stage for stage in stages(run, index)] for index in (1, 2, 3)]
    grown = ["pick_train", "check", "grow", "pick_train", "check", "freeze"]
    assert names == [["pick_train", "check", "freeze"], grown, grown]
    assert [record.budget_x for record in run.records()] == [1.0, 1.5, 2.0]


def states_of_task_2(run: Run) -> dict[str, TaskState]:
    """The state that each stage of task 2 leaves, the last of its name, on a run that has task 1."""
    found = {}

    def look(context: TaskContext, request: Request) -> StageRecord:
        record = execute(context, request)
        if record.state_sha256 is not None:
            folder = stage_folder(run.task_work(2), request.number)
            key = f"{request.stage} x{request.budget_x}"
            found[key] = read_state(folder, run.shapes(request.budget_x))
        return record

    learn_task(open_task(run, find(run.spec.method), 1, Silent()))
    learn_task(open_task(run, find(run.spec.method), 2, Silent()), look)
    return found


def test_added_units_are_trained_and_all_that_was_there_is_held(new_run: Callable[..., Run]) -> None:
    states = states_of_task_2(new_run(method="den", tasks="1-2", overrides=MISSES))
    first, grown, trained = (states[key].value for key in ("pick_train x1.0", "grow x1.5", "pick_train x1.5"))
    for name, weight in first.items():
        assert torch.equal(leading_block(grown[name], weight.shape), weight)
        assert torch.equal(leading_block(trained[name], weight.shape), weight)
        assert not torch.equal(trained[name], grown[name])


def test_only_what_is_selected_is_trained_again(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def last_layer(network: Network) -> dict[str, Tensor]:
        found = {
            name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in shared_parameters(network).items()
        }
        found[next(reversed(found))].fill_(True)
        return found

    monkeypatch.setattr(den, "selected", last_layer)
    run = new_run(method="den", tasks="1-2", overrides=("grow.max_x=1.0", "pick_train.epochs=3"))
    after, before = states_of_task_2(run)["pick_train x1.0"].value, assembly_of(run).rebuild(1).weight
    *others, last = before
    assert all(torch.equal(after[name], before[name]) for name in others)
    assert not torch.equal(after[last], before[last])


def test_the_network_never_outgrows_its_largest_budget(learned: Callable[..., Run]) -> None:
    run = learned(method="den", tasks="1-3", overrides=(*MISSES, "grow.max_x=1.3"))
    assert [record.budget_x for record in run.records()] == [1.0, 1.3, 1.3]
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
    before, after = assembly_of(run).rebuild(1).weight, assembly_of(run).rebuild(2).weight
    name = list(before)[-1]
    same = leading_block(after[name], before[name].shape) == before[name]
    return int((same | (before[name] == 0)).all(dim=1).sum())


def zeros(run: Run) -> float:
    """The share of the shared weights of task 1 that are exactly 0."""
    weights = torch.cat([weight.flatten() for weight in assembly_of(run).rebuild(1).weight.values()])
    return float((weights == 0).float().mean())


def test_what_is_shrunk_to_0_is_0_when_training_ends(learned: Callable[..., Run]) -> None:
    """At a constant learning rate, where the last step moves as far as any."""
    steady = ("pick_train.schedule={kind: constant}", "pick_train.lr=0.005")
    sparse, dense = (learned(method="den", tasks="1", overrides=(*steady, f"den.l1={l1}")) for l1 in ("0.3", "0.0"))
    assert 0.1 < zeros(sparse) < 0.9
    assert zeros(dense) == 0


def test_less_is_selected_the_more_heads_are_shrunk(learned: Callable[..., Run]) -> None:
    def changed(l1: str) -> float:
        run = learned(method="den", tasks="1-2", overrides=("grow.max_x=1.0", f"den.l1={l1}"))
        before, after = assembly_of(run).rebuild(1).weight, assembly_of(run).rebuild(2).weight
        moved = torch.cat([(after[name] != before[name]).flatten() for name in before])
        return float(moved.float().mean())

    assert changed("0.0") > 0.99
    assert 0 < changed("0.3") < 0.8
