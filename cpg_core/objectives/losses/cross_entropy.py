"""Cross entropy: L = mean over i of -log softmax(z_i)[y_i]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch.nn.functional import cross_entropy

from cpg_core.objectives.losses.loss import LogitLoss, Loss


class CrossEntropy(Loss):
    """Every image counts alike. Of angles it is the modified softmax loss of SphereFace (Liu et al., 2017, eq. 4)."""

    kind: Literal["cross_entropy"]

    def of_logits(self, counts: Sequence[int]) -> LogitLoss:  # noqa: ARG002
        """Cross entropy."""
        return cross_entropy
