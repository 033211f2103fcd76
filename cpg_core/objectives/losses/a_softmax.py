"""A-Softmax: an angular margin that multiplies the angle.

Liu et al., *SphereFace: Deep Hypersphere Embedding for Face Recognition*, CVPR 2017, eq. 7:

    L = mean over i of -log( exp(f_i) / (exp(f_i) + sum over j != y_i of exp(|x_i| cos(theta_ij))) )
    psi(theta) = (-1)^k cos(m theta) - 2k   for theta in [k pi/m, (k + 1) pi/m]

and, so that training begins near cross entropy, as their experiments anneal it:

    f = |x| (lambda cos(theta) + psi(theta)) / (lambda + 1),   lambda = max(5, 1500 / (1 + 0.1 t))

where theta_ij is the angle between embedding x_i and the weight of class j, and t the steps done in the stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from cpg_core.objectives.losses.loss import AngleLoss, MarginLoss, one_hot


class ASoftmax(MarginLoss):
    """The defaults are as published."""

    kind: Literal["a_softmax"]
    m: Annotated[int, Field(ge=1)] = Field(default=4, description="What the angle to the right class is multiplied by")
    lambda_min: Annotated[float, Field(ge=0)] = 5.0
    lambda_max: Annotated[float, Field(ge=0)] = 1500.0
    lambda_decay: Annotated[float, Field(ge=0)] = Field(default=0.1, description="lambda = max / (1 + decay · step)")

    def of_angles(self, counts: Sequence[int]) -> AngleLoss:  # noqa: ARG002
        """The annealed loss."""

        def loss(cosines: Tensor, norms: Tensor, labels: Tensor, steps: Tensor) -> Tensor:
            is_right = one_hot(labels, cosines.shape[1])
            right = torch.where(is_right, cosines, 0.0).sum(dim=1, keepdim=True)
            share = 1 / (1 + self.annealing(steps))
            of_right = right + share * (psi(right, self.m) - right)
            return cross_entropy(norms * torch.where(is_right, of_right, cosines), labels)

        return loss

    def annealing(self, steps: Tensor) -> Tensor:
        """lambda after so many steps of a stage."""
        return (self.lambda_max / (1 + self.lambda_decay * steps)).clamp(min=self.lambda_min)


def psi(cosine: Tensor, m: int) -> Tensor:
    """psi(theta) of cos(theta): falls from 1 to 1 - 2m, in steps that meet.

    cos(m theta) is the Chebyshev polynomial of cos(theta), so that no gradient passes through the arc cosine, whose
    slope has no bound at 0 and pi.
    """
    angle = cosine.detach().clamp(-1, 1).arccos()
    k = (angle * (m / math.pi)).floor().clamp(max=m - 1)
    before, now = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, now = now, 2 * cosine * now - before
    return (1 - 2 * k.remainder(2)) * now - 2 * k
