"""How pick scores move: what each rule leaves out, and what noise alone makes it leave out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from cpg_core.training.score_rules import ScoreRule, adam_scores, sgd_scores, t_scores

STEPS = 400


def picked(rule: ScoreRule, gradients: Iterable[Tensor], lr: float = 5e-4) -> Tensor:
    """Whether each weight is picked after these gradients of its score: bool [n]."""
    score = exp_avg = exp_avg_sq = torch.empty(0)
    for step, grad in enumerate(gradients, 1):
        if step == 1:
            score, exp_avg, exp_avg_sq = grad * 0 + rule.init, grad * 0, grad * 0
        hyper = torch.tensor(rule.rates(lr, step))
        score, exp_avg, exp_avg_sq = rule.move(score, grad, exp_avg, exp_avg_sq, hyper)
    return score > rule.threshold


def noise(mean: float, weights: int = 2000) -> list[Tensor]:
    """Gradients of one standard deviation around a mean."""
    generator = torch.Generator().manual_seed(1)
    return [mean + torch.randn(weights, generator=generator) for _ in range(STEPS)]


RULES = {"adam": adam_scores(0.01, 0.005), "sgd": sgd_scores(0.01, 0.005), "t": t_scores(2.0)}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_only_does_harm_is_left_out_and_what_only_helps_is_kept(rule: ScoreRule) -> None:
    harm, help_ = torch.tensor([0.1]), torch.tensor([-0.1])
    assert not picked(rule, [harm] * STEPS)
    assert picked(rule, [help_] * STEPS)


def test_noise_moves_adam_far_and_a_t_test_as_seldom_as_it_should() -> None:
    assert float((~picked(RULES["adam"], noise(0.0))).float().mean()) > 0.1
    left_out = float((~picked(RULES["t"], noise(0.0))).float().mean())
    assert 0.01 < left_out < 0.04  # a normal variable exceeds 2 standard deviations in 2.3 % of cases


def test_a_mean_beyond_its_noise_is_seen() -> None:
    assert float((~picked(RULES["t"], noise(0.4))).float().mean()) > 0.9


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_t_test_leaves_nothing_out_on_its_first_batches(batches: int) -> None:
    generator = torch.Generator().manual_seed(2)
    few = [torch.randn(2000, generator=generator) for _ in range(batches)]
    assert float(picked(RULES["t"], few).float().mean()) > 0.99


def test_sgd_follows_the_size_of_the_gradient() -> None:
    rule = RULES["sgd"]
    assert picked(rule, [torch.tensor([0.01])] * STEPS)
    assert not picked(rule, [torch.tensor([0.03])] * STEPS)


def test_a_weight_of_zero_stays_picked() -> None:
    assert picked(RULES["t"], [torch.zeros(1)] * STEPS)
