"""How pick scores move: what the straight-through gradient, dL/dscore = dL/dweight * fixed value, does to a score.

An older weight is picked while its score exceeds the threshold. Each rule is an elementwise function as those of
`update_rules`, with the numbers that it needs at a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cpg_core.config.picks import SignificantPicks
from cpg_core.config.settings import PickTrain
from cpg_core.training.update_rules import AdaptiveRule, adam, adam_rates

BETA1 = 0.9
MEMORY = 0.99
"""Of the running mean and variance of the gradients of a score: about a hundred steps."""
SMALLEST = 1e-30


@dataclass(frozen=True)
class ScoreRule:
    """A rule of pick scores.

    Attributes:
        move: elementwise, as a rule of weights, on a score and its gradient.
        rates: `(learning rate, step, from 1)` to the numbers that `move` reads.
        init: where scores begin; above the threshold.
        threshold: a weight is picked where its score exceeds it.
    """

    move: AdaptiveRule
    rates: Callable[[float, int], list[float]]
    init: float
    threshold: float


def score_rule_of(config: PickTrain) -> ScoreRule:
    """The rule that the settings name, where picks are learned."""
    if isinstance(config.picks, SignificantPicks):
        return t_scores(config.picks.least)
    make = {"adam": adam_scores, "sgd": sgd_scores}[config.picks.kind]
    return make(config.score_init, config.score_threshold)


def adam_scores(init: float, threshold: float) -> ScoreRule:
    """Adam, as published: its steps have the same length whatever the size of the gradient."""
    return ScoreRule(adam, lambda lr, step: adam_rates(lr, BETA1, 0.0, step), init, threshold)


def sgd_scores(init: float, threshold: float) -> ScoreRule:
    """Plain gradient descent: a score travels as far as the gradients of its weight add up to."""
    return ScoreRule(descend, lambda lr, step: [lr], init, threshold)  # noqa: ARG005


def t_scores(least: float) -> ScoreRule:
    """Minus the t-statistic of the score's gradient: a weight is dropped where its mean is surely above 0.

    A positive gradient says that the loss falls where the weight is left out; it counts as sure where it exceeds
    `least` standard errors.
    """

    def rates(lr: float, step: int) -> list[float]:  # noqa: ARG001
        return [MEMORY, 1 - MEMORY**step, (1 - MEMORY) / (1 + MEMORY)]

    return ScoreRule(t_statistic, rates, 0.0, -least)


def descend(
    score: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyper: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`score - rate * grad`; `hyper` = (rate)."""
    return score - hyper[0] * grad, exp_avg, exp_avg_sq


def t_statistic(
    score: Tensor,  # noqa: ARG001  (it is the statistic alone)
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    hyper: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Minus mean over standard error of exponentially weighted gradients.

    `hyper` = (memory b, 1 - b^t, (1 - b)/(1 + b)): the last is the variance of the weighted mean of many draws, over
    that of one. At first, with few draws, the mean is shrunk by 1 - b^t, and the variance is taken about what is left
    of it, so that it is put too high: nothing is dropped on a handful of batches.
    """
    memory, seen, share = hyper.unbind()
    exp_avg = memory * exp_avg + (1 - memory) * grad
    exp_avg_sq = memory * exp_avg_sq + (1 - memory) * grad * grad
    variance = (exp_avg_sq / seen - exp_avg * exp_avg).clamp_min(0.0)
    error = (variance * share / seen).sqrt().clamp_min(SMALLEST)  # 0 where a weight or its gradient always is
    return -exp_avg / error, exp_avg, exp_avg_sq
