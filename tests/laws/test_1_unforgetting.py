"""Law 1: whatever is learned later, a task's logits are the very bits of its freeze."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from core.tiny import DEEP, FORGETTING, GROWS, KEEPING, OPTIMIZERS, learners
from core.witness import Witness, recalled
from torch import Tensor

from cpg_core.methods import assembly_of
from cpg_core.storage.run import Run


@pytest.mark.parametrize(("method", "optimizer"), learners(KEEPING))
def test_no_later_task_changes_a_bit(new_run: Callable[..., Run], method: str, optimizer: str) -> None:
    witness = Witness().learn(new_run(method=method, overrides=OPTIMIZERS[optimizer]))
    assert len(witness.later) == 1 + 2 + 3
    assert witness.forgotten() == set()


@pytest.mark.parametrize(("method", "optimizer"), learners(FORGETTING))
def test_a_method_that_forgets_fails_the_same_check(new_run: Callable[..., Run], method: str, optimizer: str) -> None:
    witness = Witness().learn(new_run(method=method, overrides=OPTIMIZERS[optimizer]))
    assert witness.forgotten() == {(1, 2), (1, 3), (2, 3)}


@pytest.mark.parametrize("method", ["cpg", "pae"])
def test_growth_changes_no_bit(new_run: Callable[..., Run], method: str) -> None:
    run = new_run(method=method, overrides=GROWS)
    witness = Witness().learn(run)
    assert [record.budget_x for record in run.records()] == [1.0, 2.0, 2.0]
    assert witness.forgotten() == set()


@pytest.mark.parametrize("backbone", DEEP)
def test_a_deep_network_that_grows_keeps_every_bit(new_run: Callable[..., Run], backbone: str) -> None:
    run = new_run(tasks="1-2", **DEEP[backbone])
    witness = Witness().learn(run)
    assert run.record(2).budget_x == 2.0
    assert witness.forgotten() == set()


def test_the_same_model_gives_the_same_bits_twice(learned: Callable[..., Run]) -> None:
    run = learned(tasks="1-2")
    assert torch.equal(recalled(run, 2), recalled(run, 2))


@pytest.mark.parametrize("task", [1, 2])
def test_one_flipped_bit_of_a_frozen_weight_shows(learned: Callable[..., Run], task: int) -> None:
    run = learned(tasks="1-2")
    shared = assembly_of(run).rebuild(2)
    weight = shared.weight["0.weight"]
    wrong = flipped(weight, largest(weight * (shared.owner["0.weight"] == task)))
    changed = replace(shared, weight={**shared.weight, "0.weight": wrong})
    assert not torch.equal(recalled(run, task, changed), recalled(run, task))


def test_one_flipped_pick_shows(learned: Callable[..., Run]) -> None:
    run = learned(tasks="1-2")
    shared, delta = assembly_of(run).rebuild(2), run.delta(2)
    older = shared.owner["0.weight"] == 1
    masks = delta.codec.masks
    mask = masks.decode(delta.pick["0.weight"], older)
    bits, place = mask[older], largest(shared.weight["0.weight"][older])
    bits[place] = ~bits[place]
    mask[older] = bits
    changed = replace(delta, pick={**delta.pick, "0.weight": masks.encode(mask, older)})
    assert not torch.equal(recalled(run, 2, delta=changed), recalled(run, 2))


@pytest.mark.parametrize("name", ["head.weight", "backbone.1.running_mean", "backbone.9.bias"])
def test_one_flipped_bit_of_a_private_parameter_shows(learned: Callable[..., Run], name: str) -> None:
    run = learned(tasks="1-2")
    delta = run.delta(1)
    value = delta.private[name]
    changed = replace(delta, private={**delta.private, name: flipped(value, largest(value))})
    assert not torch.equal(recalled(run, 1, delta=changed), recalled(run, 1))


def test_each_record_tells_what_became_of_the_earlier_tasks(learned: Callable[..., Run]) -> None:
    def unchanged(method: str) -> list[list[bool]]:
        return [[recall.unchanged for recall in learned(method=method).recalls(task)] for task in (1, 2, 3)]

    assert unchanged("cpg") == [[], [True], [True, True]]
    assert unchanged("sequential") == [[], [False], [False, False]]


def largest(values: Tensor) -> int:
    return int(values.abs().flatten().argmax())


def flipped(values: Tensor, place: int) -> Tensor:
    """A copy with the highest mantissa bit of one value the other way round."""
    copy = values.clone()
    copy.view(torch.int32).view(-1)[place] ^= 1 << 22
    return copy
