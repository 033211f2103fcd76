"""Owners: what is taken stays taken, and thousands of tasks fit."""

from __future__ import annotations

import pytest
import torch

from cpg_core.model.ownership import MOST_TASKS, claim, owned_before, released

EMPTY = torch.zeros(4, dtype=torch.int16)


def at(*places: int) -> torch.Tensor:
    mask = torch.zeros(4, dtype=torch.bool)
    mask[list(places)] = True
    return mask


def test_a_claim_gives_exactly_the_positions() -> None:
    owner = claim(claim(EMPTY, at(0, 2), 1), at(3), 2)
    assert owner.tolist() == [1, 0, 1, 2]
    assert owner.dtype == torch.int16
    assert released(owner).tolist() == [False, True, False, False]
    assert owned_before(owner, 2).tolist() == [True, False, True, False]
    assert EMPTY.tolist() == [0, 0, 0, 0], "the map before is left as it was"


@pytest.mark.parametrize("task", [1, 2])
def test_what_is_owned_cannot_be_claimed_again(task: int) -> None:
    owner = claim(EMPTY, at(0, 1), 1)
    with pytest.raises(ValueError, match=f"task {task} claims 1 weights"):
        claim(owner, at(1, 2), task)


@pytest.mark.parametrize("task", [0, -1, MOST_TASKS + 1])
def test_a_task_number_must_fit_16_bits(task: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 32767"):
        claim(EMPTY, at(0), task)


def test_three_hundred_tasks_keep_apart() -> None:
    owner = torch.zeros(300, dtype=torch.int16)
    for task in range(1, 301):
        owner = claim(owner, torch.arange(300) == task - 1, task)
    assert owner.tolist() == list(range(1, 301))
    assert int(owned_before(owner, 257).sum()) == 256


def test_the_largest_task_number_is_kept() -> None:
    assert claim(EMPTY, at(1), MOST_TASKS).tolist() == [0, MOST_TASKS, 0, 0]
