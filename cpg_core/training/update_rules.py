"""The optimizer's pass over one shared layer: elementwise, in place, one trip through memory.

Released weights move by the weight rule, pick scores by Adam, and earlier tasks' values do not move at all. These
positions exclude each other, so one set of buffers serves both rules. `held` says which is which: the value that a
position must keep, or NaN where the position is free to move. What is held is written back on every pass, so no
momentum, decay or optimizer can move it.

The functions are plain elementwise torch, so the same lines run eagerly or compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor, Tensor | None]]
"""(value, gradient, first, second, hyper) -> (new value, first, second)."""

EPSILON = 1e-8


def sgd(
    value: Tensor, grad: Tensor, first: Tensor, second: Tensor | None, hyper: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """SGD with Nesterov momentum and decay as `torch.optim.SGD` has it; `hyper` = (rate, momentum, decay)."""
    rate, momentum, decay = hyper[0], hyper[1], hyper[2]
    grad = grad + decay * value
    velocity = momentum * first + grad
    return value - rate * (grad + momentum * velocity), velocity, second


def adam(value: Tensor, grad: Tensor, first: Tensor, second: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Adam with decoupled decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW` has it.

    `hyper` = (rate, beta1, decay, beta2, 1 - beta1^t, 1 - beta2^t) at step t.
    """
    rate, beta1, decay, beta2, correction1, correction2 = hyper.unbind()
    first = beta1 * first + (1 - beta1) * grad
    second = beta2 * second + (1 - beta2) * grad * grad
    step = (first / correction1) / ((second / correction2).sqrt() + EPSILON)
    return value * (1 - rate * decay) - rate * step, first, second


def weights_pass(
    rule: Rule, value: Tensor, grad: Tensor, held: Tensor, first: Tensor, second: Tensor | None, hyper: Tensor
) -> None:
    """Move what is free to move, and write back what is held. All tensors `[n]`; `value` and buffers in place."""
    new, new_first, new_second = rule(value, grad, first, second, hyper)
    first.copy_(new_first)
    if second is not None and new_second is not None:
        second.copy_(new_second)
    value.copy_(torch.where(held.isnan(), new, held))


def picks_pass(
    rule: Rule,
    value: Tensor,
    grad: Tensor,
    held: Tensor,
    score: Tensor,
    first: Tensor,
    second: Tensor,
    hyper: Tensor,
    score_hyper: Tensor,
) -> None:
    """Move released weights by `rule` and pick scores by Adam, and write the effective weights.

    Where a value is held its score learns by the straight-through gradient, dL/dscore = dL/dweight * held value
    (Piggyback; section 3), and the effective weight is the held value where the score exceeds the threshold, else 0.
    `score_hyper` is Adam's with the threshold as its last entry. All tensors `[n]`, updated in place.
    """
    new, moved_first, moved_second = rule(value, grad, first, second, hyper)
    new_score, score_first, score_second = adam(score, grad * held, first, second, score_hyper[:-1])
    free = held.isnan()
    picked = torch.where(new_score > score_hyper[-1], held, 0.0)
    first.copy_(torch.where(free, moved_first, score_first))
    if moved_second is not None:
        second.copy_(torch.where(free, moved_second, score_second))
    score.copy_(torch.where(free, score, new_score))
    value.copy_(torch.where(free, new, picked))
