"""The optimizer's pass over one shared layer: elementwise, in place, one trip through memory.

Released weights move by the weight rule, pick scores by theirs, and earlier tasks' values do not move at all. These
positions exclude each other, so one set of buffers serves both rules. `fixed_values` says which is which: the value
that a position must keep, or NaN where it is trained. Fixed values are written back on every pass, so no momentum,
decay or optimizer can move them. The NaN is known to this file alone: `encode_fixed` writes it and `is_trainable`
reads it.

The functions are plain elementwise torch, so the same lines run eagerly or compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor, Tensor | None]]
"""(value, gradient, exp_avg, exp_avg_sq, hyper) -> (new value, exp_avg, exp_avg_sq)."""
AdaptiveRule = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""The same of one that has a buffer of squares."""

EPSILON = 1e-8
BETA2 = 0.999


def encode_fixed(trainable: Tensor, values: Tensor) -> Tensor:
    """The one tensor that says what is trained and what is fixed: `values` where not `trainable` (bool)."""
    return torch.where(trainable, torch.nan, values)


def is_trainable(fixed_values: Tensor) -> Tensor:
    """Where a position is trained: bool, of the same shape."""
    return fixed_values.isnan()


def mark_trainable(fixed_values: Tensor, positions: Tensor) -> None:
    """Train what lies at `positions` (bool) from now on, in place."""
    fixed_values.masked_fill_(positions, torch.nan)


def sgd(
    value: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor | None, hyper: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """SGD with Nesterov momentum and decay as `torch.optim.SGD` has it; `hyper` = (rate, momentum, decay)."""
    rate, momentum, decay = hyper[0], hyper[1], hyper[2]
    grad = grad + decay * value
    velocity = momentum * exp_avg + grad
    return value - rate * (grad + momentum * velocity), velocity, exp_avg_sq


def adam(
    value: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyper: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Adam with decoupled decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW` has it.

    `hyper` = (rate, beta1, decay, beta2, 1 - beta1^t, 1 - beta2^t) at step t.
    """
    rate, beta1, decay, beta2, correction1, correction2 = hyper.unbind()
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    step = (exp_avg / correction1) / ((exp_avg_sq / correction2).sqrt() + EPSILON)
    return value * (1 - rate * decay) - rate * step, exp_avg, exp_avg_sq


def adam_rates(lr: float, beta1: float, decay: float, step: int) -> list[float]:
    """The `hyper` of `adam` at a step, counted from 1."""
    return [lr, beta1, decay, BETA2, 1 - beta1**step, 1 - BETA2**step]


def weights_pass(
    rule: Rule,
    value: Tensor,
    grad: Tensor,
    fixed_values: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor | None,
    hyper: Tensor,
) -> None:
    """Move what is trained, and write back what is fixed. All tensors `[n]`; `value` and buffers in place."""
    new, new_avg, new_avg_sq = rule(value, grad, exp_avg, exp_avg_sq, hyper)
    exp_avg.copy_(new_avg)
    if exp_avg_sq is not None and new_avg_sq is not None:
        exp_avg_sq.copy_(new_avg_sq)
    value.copy_(torch.where(is_trainable(fixed_values), new, fixed_values))


def picks_pass(
    rule: Rule,
    value: Tensor,
    grad: Tensor,
    fixed_values: Tensor,
    score: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    hyper: Tensor,
    score_hyper: Tensor,
    score_rule: AdaptiveRule,
) -> None:
    """Move released weights by `rule` and pick scores by `score_rule`, and write the effective weights.

    Where a value is fixed its score learns by the straight-through gradient, dL/dscore = dL/dweight * fixed value
    (Piggyback; section 3), and the effective weight is the fixed value where the score exceeds the threshold, else 0.
    `score_hyper` is the score rule's with the threshold as its last entry. All tensors `[n]`, updated in place.
    """
    new, weight_avg, weight_avg_sq = rule(value, grad, exp_avg, exp_avg_sq, hyper)
    new_score, score_avg, score_avg_sq = score_rule(score, grad * fixed_values, exp_avg, exp_avg_sq, score_hyper[:-1])
    trained = is_trainable(fixed_values)
    picked = torch.where(new_score > score_hyper[-1], fixed_values, 0.0)
    exp_avg.copy_(torch.where(trained, weight_avg, score_avg))
    if weight_avg_sq is not None:
        exp_avg_sq.copy_(torch.where(trained, weight_avg_sq, score_avg_sq))
    score.copy_(torch.where(trained, score, new_score))
    value.copy_(torch.where(trained, new, picked))
