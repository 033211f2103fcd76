"""Picks drawn at random, the control of learned ones: the share asked for, among older weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.tiny import learn, spec
from cpg_core.config.picks import AllPicks, RandomPicks, ScoredPicks, SignificantPicks, learns
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.stages.random_picks import drawn


def test_exactly_the_share_is_drawn_among_older_weights() -> None:
    older = torch.rand(40, 25, generator=torch.Generator().manual_seed(1)) < 0.5
    picked = drawn(older, 0.3, seed=7)
    assert picked.shape == older.shape
    assert int(picked.sum()) == round(0.3 * int(older.sum()))
    assert not (picked & ~older).any()
    assert torch.equal(picked, drawn(older, 0.3, seed=7))
    assert not torch.equal(picked, drawn(older, 0.3, seed=8))


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


@pytest.mark.parametrize("picks", ["{kind: sgd}", "{kind: t_statistic, least: 1.0}"])
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
