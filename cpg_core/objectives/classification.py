"""One of several classes: a linear head, cross entropy, and the fraction of images whose largest logit is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cpg_core.errors import CpgError
from cpg_core.objectives import Objective, ObjectiveSpec
from cpg_core.objectives.measures.confusion import ConfusionMeasure, balanced_accuracy, tally_by_class


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
    objective = OBJECTIVE if spec.metric == "accuracy" else BALANCED
    if spec.loss is None:
        return objective
    of_logits = spec.loss.of_logits(counts)
    return with_loss(objective, lambda logits, labels, _steps: of_logits(logits, labels))


def with_loss(objective: Objective, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Objective:
    """The objective with another loss, for any number of classes."""
    sized = objective.sized
    return replace(
        objective, loss=loss, sized=None if sized is None else lambda classes: replace(sized(classes), loss=loss)
    )


def balanced(classes: int) -> Objective:
    """As `OBJECTIVE`, scored by the mean recall over so many classes."""
    return replace(BALANCED, tally_size=2 * classes, sized=None)


OBJECTIVE = Objective(
    head=nn.Linear,
    loss=mean_cross_entropy,
    tally=tally,
    tally_size=2,
    score=accuracy,
    by_class=lambda classes: ConfusionMeasure(classes, accuracy, by_class=False),
    configured=configured,
)
BALANCED = replace(
    OBJECTIVE,
    tally=tally_by_class,
    score=balanced_accuracy,
    sized=balanced,
    by_class=lambda classes: ConfusionMeasure(classes, balanced_accuracy, by_class=True),
)
