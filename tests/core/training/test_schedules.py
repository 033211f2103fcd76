"""Rates at the points where they were worked out by hand."""

from __future__ import annotations

import pytest

from cpg_core.config.schedules import Constant, OneCycle, Plateau, Schedule, Steps
from cpg_core.stages.pruning.prune_schedule import cubic, floor_sparsity
from cpg_core.training.schedules import ended, factor

PAPER = Steps(kind="steps", at_epochs=(50, 80), factor=0.1)
CYCLE = OneCycle(kind="one_cycle", warmup=0.2, final=0.1)


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (Constant(kind="constant"), 0, 1.0),
        (Constant(kind="constant"), 99.9, 1.0),
        (PAPER, 0, 1.0),
        (PAPER, 49.99, 1.0),
        (PAPER, 50, 0.1),
        (PAPER, 79.99, 0.1),
        (PAPER, 80, 0.01),
        (CYCLE, 0, 0.01),
        (CYCLE, 10, 0.5),
        (CYCLE, 20, 1.0),
        (CYCLE, 60, 0.55),
        (CYCLE, 100, 0.1),
        (OneCycle(kind="one_cycle", warmup=0.0, final=0.0), 0, 1.0),
        (OneCycle(kind="one_cycle", warmup=0.0, final=0.0), 50, 0.5),
        (OneCycle(kind="one_cycle", warmup=1.0, final=0.0), 50, 0.5),
    ],
)
def test_rates(schedule: Schedule, epoch: float, expected: float) -> None:
    assert factor(schedule, epoch, 100) == pytest.approx(expected)


def plateau(*, at_most: int = 2, stop: bool = False) -> Plateau:
    return Plateau(kind="plateau", factor=0.1, patience=2, at_most=at_most, stop=stop)


@pytest.mark.parametrize(
    ("scores", "falls"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.5], 0),
        ([0.5, 0.5, 0.5], 1),
        ([0.5, 0.4, 0.6, 0.6], 0),
        ([0.5, 0.4, 0.6, 0.6, 0.6], 1),
        ([0.5, 0.4, 0.3, 0.4, 0.4], 2),
        ([0.5, 0.4, 0.3, 0.6, 0.4], 1),
        ([0.5] * 20, 2),
    ],
)
def test_the_rate_falls_after_each_plateau_but_no_more_often_than_it_may(scores: list[float], falls: int) -> None:
    assert factor(plateau(), len(scores), 100, scores) == pytest.approx(0.1**falls)


def test_a_schedule_that_stops_does_so_where_it_would_fall_once_more() -> None:
    scores = [0.5] * 5  # the best, and two plateaus
    assert not ended(plateau(stop=True), [*scores, 0.5])
    assert ended(plateau(stop=True), [*scores, 0.5, 0.5])
    assert not ended(plateau(stop=False), [*scores, 0.5, 0.5])
    assert not ended(PAPER, [0.5] * 100)


def test_cubic_starts_at_the_start_and_ends_at_the_target() -> None:
    assert cubic(0.2, 0.6, 0.0) == pytest.approx(0.2)
    assert cubic(0.2, 0.6, 0.5) == pytest.approx(0.6 - 0.4 / 8)
    assert cubic(0.2, 0.6, 1.0) == 0.6


def test_room_for_later_tasks_is_an_equal_share() -> None:
    assert [floor_sparsity(left) for left in (0, 1, 3, 19)] == pytest.approx([0, 0.5, 0.75, 0.95])


def test_the_share_of_later_tasks_is_rounded_as_published() -> None:
    lefts = (0, 1, 2, 3, 4, 5, 6, 18, 19, 20)
    assert [floor_sparsity(left, rounded=True) for left in lefts] == [0, 0.5, 0.7, 0.8, 0.8, 0.8, 0.9, 0.9, 0.9, 1.0]
    assert floor_sparsity(6) != floor_sparsity(6, rounded=True)
