"""Who owns and who picks, read back, against what each task recorded as it was frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core.tiny import GROWS
from cpg_core.recall import weight_usage as sharing
from cpg_core.storage.run import Run


@pytest.mark.parametrize("method", ["cpg", "pae", "piggyback", "progressive"])
def test_what_each_task_owns_is_what_it_recorded(learned: Callable[..., Run], method: str) -> None:
    run = learned(method=method, overrides=GROWS)
    found = torch.tensor(list(sharing.owned(run).values()))
    last = run.records()[-1]
    assert found.sum() == last.allocated
    assert found.sum(dim=0).tolist() == [last.released, *(record.own for record in run.records())]


def test_picks_of_each_task_make_up_the_share_of_all(learned: Callable[..., Run]) -> None:
    run = learned(overrides=GROWS)
    records = run.records()
    for record in records[1:]:
        shares = sharing.picked(run, record.index)
        own = [earlier.own for earlier in records[: record.index - 1]]
        together = sum(share * count for share, count in zip(shares, own, strict=True)) / sum(own)
        assert together == pytest.approx(record.picked)
    assert len({*sharing.picked(run, 3), 0.0, 1.0}) == 4  # each its own share, neither none nor all
    assert sharing.picked(run, 1) == []


def test_a_method_that_uses_all_picks_all(learned: Callable[..., Run]) -> None:
    assert sharing.picked(learned(method="pae", overrides=GROWS), 3) == [1.0, 1.0]


def test_a_task_that_owns_nothing_is_picked_in_no_part(learned: Callable[..., Run]) -> None:
    first, second = sharing.picked(learned(method="piggyback"), 3)
    assert 0 < first < 1
    assert second == 0


@pytest.mark.parametrize("method", ["scratch", "sequential"])
def test_tasks_that_do_not_stand_side_by_side_have_no_picture(learned: Callable[..., Run], method: str) -> None:
    run = learned(method=method)
    assert sharing.owned(run) == {}
    assert sharing.picked(run, 2) == []
