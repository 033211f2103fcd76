"""Cross entropy weighted by class, for classes of very different size.

L = sum over i of w[y_i] · (-log softmax(z_i)[y_i]) / sum over i of w[y_i], with w[c] = (N - n_c) / n_c: the negative
images of a class over its positive ones (Hung et al., ICMR 2019, train expression so). N is the sum of the n_c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from cpg_core.errors import CpgError
from cpg_core.objectives.losses.loss import LogitLoss, Loss


class WeightedCrossEntropy(Loss):
    """The weights come from the training images, from `counts` in their place, or are `weights`.

    They are averaged over the images that a process has of a batch, as PyTorch's `weight` does.
    """

    kind: Literal["weighted_cross_entropy"]
    counts: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(default=None, description="n_c, in order of classes")
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(default=None, description="w, in their place")

    @model_validator(mode="after")
    def _one_of_them(self) -> WeightedCrossEntropy:
        if self.counts and self.weights:
            raise ValueError("counts and weights are both given; give one of them, or none for the training images'")
        return self

    def of_logits(self, counts: Sequence[int]) -> LogitLoss:
        """Cross entropy by these weights.

        Raises:
            CpgError: there are more or fewer weights than classes.
        """
        weights = self.weights or balanced(self.counts or counts)
        given = self.weights or self.counts
        if given and counts and len(given) != len(counts):
            raise CpgError(
                f"loss: {len(given)} weights or counts for {len(counts)} classes; give one a class, in order"
            )
        on = _on(weights)
        return lambda logits, labels: cross_entropy(logits, labels, on(logits.device, logits.dtype))


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """w[c] = (N - n_c) / n_c; a class without images weighs 0."""
    total = sum(counts)
    return tuple((total - count) / count if count else 0.0 for count in counts)


def _on(weights: tuple[float, ...]) -> Callable[[torch.device, torch.dtype], Tensor]:
    """The weights on a device, sent there once: a recorded step must not send anything."""
    return cache(lambda device, dtype: torch.tensor(weights, device=device, dtype=dtype))
