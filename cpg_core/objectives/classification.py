"""One of several classes: a linear head, cross entropy, and the fraction of images whose largest logit is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cpg_core.errors import CpgError
from cpg_core.objectives import Objective, ObjectiveSpec


def tally(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images of a batch are right, and how many there are: int64 `[2]`."""
    right = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([right, torch.full_like(right, len(labels))])


def accuracy(counts: list[int]) -> float:
    """Right over all, in [0, 1]."""
    right, seen = counts
    return right / seen


def mean_cross_entropy(logits: Tensor, labels: Tensor, steps: Tensor) -> Tensor:  # noqa: ARG001  (as every loss)
    """The mean over the batch."""
    return cross_entropy(logits, labels)


def configured(spec: ObjectiveSpec, counts: Sequence[int]) -> Objective:
    """With the loss that a task chose.

    Raises:
        CpgError: it needs what a classification has not.
    """
    if spec.embedding is not None:
        raise CpgError("embedding: only tasks of kind verification have one; leave it out, or set kind: verification")
    if spec.loss is None:
        return OBJECTIVE
    of_logits = spec.loss.of_logits(counts)
    return replace(OBJECTIVE, loss=lambda logits, labels, _steps: of_logits(logits, labels))


OBJECTIVE = Objective(
    head=nn.Linear,
    loss=mean_cross_entropy,
    tally=tally,
    tally_size=2,
    score=accuracy,
    configured=configured,
)
