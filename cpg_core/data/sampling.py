"""Which images an epoch is made of, and in which order."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

Sampling = Literal["balanced"]
"""`balanced`: each class gives an epoch as many images as any other, those of rare classes several times."""


def epoch_rows(labels: Tensor, sampling: Sampling | None, generator: Generator) -> Tensor:
    """Draw the rows of an epoch: int64 [N], in order; without a sampling each of the N once.

    Balanced, each class is gone through in random order, and again in another order, until it has given its share of
    the N: so two images of a class never differ by more than 1 in how often they come. Which classes give one more,
    where N is no multiple of their number, is drawn too.
    """
    if sampling is None:
        return torch.randperm(len(labels), generator=generator)
    classes = labels.bincount().nonzero().flatten()
    share, rest = divmod(len(labels), len(classes))
    drawn = []
    for place, label in enumerate(classes[torch.randperm(len(classes), generator=generator)]):
        rows, wanted = (labels == label).nonzero().flatten(), share + (place < rest)
        passes = [torch.randperm(len(rows), generator=generator) for _ in range(-(-wanted // len(rows)))]
        drawn.append(rows[torch.cat([*passes, rows.new_empty(0)])[:wanted]])
    taken = torch.cat(drawn)
    return taken[torch.randperm(len(taken), generator=generator)]
