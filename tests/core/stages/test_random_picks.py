"""Picks drawn at random, the control of learned ones: the share asked for, among older weights alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from core.tiny import learn, spec
from cpg_core.config.picks import AllPicks, RandomPicks, ScoredPicks, SignificantPicks, learns
from cpg_core.errors import CpgError
from cpg_core.model.channels.units import Units
from cpg_core.model.state import TaskState
from cpg_core.recall.audit import audit
from cpg_core.stages import random_picks as module
from cpg_core.stages.context import TaskContext
from cpg_core.stages.random_picks import drawn, random_picks


def test_exactly_the_share_is_drawn_among_older_weights() -> None:
    older = torch.rand(40, 25, generator=torch.Generator().manual_seed(1)) < 0.5
    picked = drawn(older, 0.3, seed=7)
    assert picked.shape == older.shape
    assert int(picked.sum()) == round(0.3 * int(older.sum()))
    assert not (picked & ~older).any()
    assert torch.equal(picked, drawn(older, 0.3, seed=7))
    assert not torch.equal(picked, drawn(older, 0.3, seed=8))


WIDE, NARROW = "0.weight", "1.weight"
TWO_POOLS = Units(
    outputs={WIDE: torch.arange(12), NARROW: torch.arange(12, 16)},
    private={},
    pool=torch.tensor([0] * 12 + [1] * 4),
    removable=torch.ones(16, dtype=torch.bool),
    products=(),
)
"""A layer of twelve channels and one of four, each a pool."""


def picked_channels(monkeypatch: pytest.MonkeyPatch, share: float, seed: int = 1) -> dict[str, Tensor]:
    """Picks among older weights: of the wide layer ten channels have some, of the narrow one all but the first."""
    older = {WIDE: torch.tensor([[True, False, True]]).repeat(12, 1), NARROW: torch.ones(4, 3, dtype=torch.bool)}
    older[WIDE][5] = older[WIDE][7] = older[NARROW][0] = False
    monkeypatch.setattr(module, "units_of", lambda *_: TWO_POOLS)
    run = SimpleNamespace(spec=SimpleNamespace(seed_words=(seed,)))
    context = cast(TaskContext, SimpleNamespace(run=run, name="two-three"))
    picks = random_picks(context, TaskState(1.0, {}, {}, older, {}), RandomPicks(kind="random", share=share))
    for name, pick in picks.items():
        whole = pick.any(dim=1, keepdim=True) & older[name]
        assert torch.equal(pick, whole), "of a channel all older weights, and nothing else"
    return {name: pick.any(dim=1) for name, pick in picks.items()}


@pytest.mark.parametrize(("share", "wide", "narrow"), [(0.3, 3, 1), (0.46, 5, 1), (0.6, 6, 2), (1.0, 10, 3)])
def test_of_each_pool_the_share_is_drawn_in_whole_channels(
    monkeypatch: pytest.MonkeyPatch, share: float, wide: int, narrow: int
) -> None:
    found = picked_channels(monkeypatch, share)
    assert (int(found[WIDE].sum()), int(found[NARROW].sum())) == (wide, narrow)


def test_of_each_pool_at_least_one_channel_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that has older weights, where the share is less than half a channel."""
    found = picked_channels(monkeypatch, 0.04)
    assert found[WIDE].nonzero().flatten().tolist() == [0]
    assert found[NARROW].nonzero().flatten().tolist() == [1]


def test_one_seed_draws_the_same_channels_twice_and_another_draws_others(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (picked_channels(monkeypatch, 0.5, seed)[WIDE] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_and_none_may_be_drawn() -> None:
    older = torch.tensor([True, False, True])
    assert torch.equal(drawn(older, 1.0, seed=1), older)
    assert not drawn(older, 0.0, seed=1).any()


def test_which_picks_are_learned() -> None:
    assert learns(ScoredPicks(kind="adam"))
    assert learns(SignificantPicks(kind="t_statistic", least=2.0))
    assert not learns(RandomPicks(kind="random", share=0.5))
    assert not learns(AllPicks(kind="all"))


@pytest.mark.parametrize(
    ("picks", "share"),
    [("{kind: random, share: 0.25}", 0.25), ("{kind: all}", 1.0)],
    ids=["random", "all"],
)
def test_a_run_uses_them_and_is_audited(tmp_path: Path, picks: str, share: float) -> None:
    run = learn(tmp_path, spec(tasks="1-2", overrides=(f"pick_train.picks={picks}",)))
    picked = run.record(2).picked
    assert picked == pytest.approx(share, abs=0.02)  # of each layer a whole number of weights
    assert "retrain" not in [stage.stage for stage in run.record(2).stages]
    assert all(finding.ok for finding in audit(run))


@pytest.mark.parametrize("picks", ["{kind: sgd}", "{kind: t_statistic, least: 0.3}"])
def test_a_run_learns_by_every_rule(tmp_path: Path, picks: str) -> None:
    run = learn(tmp_path, spec(tasks="1-2", overrides=(f"pick_train.picks={picks}", "pick_train.score_lr=5.0")))
    picked = run.record(2).picked
    assert picked is not None
    assert 0.05 < picked < 1.0
    assert all(finding.ok for finding in audit(run))


def test_a_layer_that_the_network_has_not_is_told_before_task_1(tmp_path: Path) -> None:
    wanted = spec(tasks="1-2", overrides=("pick_train.picks={kind: random, share: {conv9: 0.5}}",))
    with pytest.raises(CpgError, match="share: name every shared layer once"):
        learn(tmp_path, wanted)
    assert not list(tmp_path.rglob("record.json"))
