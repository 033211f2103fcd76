"""CosFace: a margin that is taken off the cosine.

Wang et al., *CosFace: Large Margin Cosine Loss for Deep Face Recognition*, CVPR 2018, eq. 4:

    L = mean over i of -log( exp(s (cos(theta_i) - m)) / (exp(s (cos(theta_i) - m)) + sum over j != y_i of
        exp(s cos(theta_ij))) )

where theta_ij is the angle between embedding x_i and the weight of class j, and theta_i that to its own class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from cpg_core.objectives.losses.loss import AngleLoss, MarginLoss, one_hot


class CosFace(MarginLoss):
    """The defaults are as published."""

    kind: Literal["cosface"]
    s: Annotated[float, Field(gt=0)] = Field(default=64.0, description="The length that all embeddings are scaled to")
    m: Annotated[float, Field(ge=0, le=1)] = Field(default=0.35, description="The margin")

    def of_angles(self, counts: Sequence[int]) -> AngleLoss:  # noqa: ARG002
        """The loss; how long an embedding is does not count."""

        def loss(cosines: Tensor, _norms: Tensor, labels: Tensor, _steps: Tensor) -> Tensor:
            return cross_entropy(self.s * (cosines - self.m * one_hot(labels, cosines.shape[1])), labels)

        return loss
