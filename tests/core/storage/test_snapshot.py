"""A small state is saved after each epoch; a large one rarely enough to cost little."""

from __future__ import annotations

from cpg_core.storage.snapshot import BYTES_A_SECOND, LEAST_SHARE, SMALL_BYTES, due


def test_a_small_state_is_always_due_and_a_large_one_when_it_costs_little() -> None:
    assert due(SMALL_BYTES, 0.0)
    large = 700 * 2**20
    seconds = large / BYTES_A_SECOND
    assert not due(large, 0.0)
    assert not due(large, 0.9 * LEAST_SHARE * seconds)
    assert due(large, 1.1 * LEAST_SHARE * seconds)
