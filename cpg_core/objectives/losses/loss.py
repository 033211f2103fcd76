"""What every loss is: its settings, and the functions that they give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cpg_core.config.schema import Strict
from cpg_core.errors import CpgError

LogitLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits `[N, C]`, labels int64 `[N]`) -> mean over the batch, no dimensions."""
AngleLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(cosines `[N, C]` to the weights of the classes, norms `[N, 1]` of the embeddings, labels int64 `[N]`, steps done in
the stage, no dimensions) -> mean over the batch, no dimensions."""


class Loss(Strict):
    """A loss by its settings. `counts` are the training images of each class, in order."""

    kind: str

    @abstractmethod
    def of_logits(self, counts: Sequence[int]) -> LogitLoss:
        """The loss of a head that gives a logit a class."""

    def of_angles(self, counts: Sequence[int]) -> AngleLoss:
        """The loss of a head that gives angles: of the logits |x| cos(theta), without a margin."""
        of_logits = self.of_logits(counts)
        return lambda cosines, norms, labels, _steps: of_logits(norms * cosines, labels)


class MarginLoss(Loss):
    """One that sets a margin between angles, and so needs them."""

    def of_logits(self, counts: Sequence[int]) -> LogitLoss:  # noqa: ARG002
        """There is none.

        Raises:
            CpgError: always.
        """
        raise CpgError(f"loss {self.kind} sets a margin between angles, which only tasks of kind verification have")

    @abstractmethod
    def of_angles(self, counts: Sequence[int]) -> AngleLoss:
        """The loss of a head that gives angles."""


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Bool `[N, classes]`. As a comparison, which is repeatable on every device and may be recorded."""
    return labels[:, None] == torch.arange(classes, device=labels.device)
