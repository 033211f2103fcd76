"""How a score over a split is found: from a sum over batches and processes, which stays on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Measure(Protocol):
    """What adds up over the batches of a split, and what the sum says."""

    def start(self, device: torch.device) -> Tensor:
        """The sum over no batch."""
        ...

    def add(self, total: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch to the sum, in place: outputs `[N, ...]` in evaluation mode, labels int64 `[N]`."""
        ...

    def score(self, total: Tensor) -> float:
        """The score in [0, 1]."""
        ...

    def figures(self, total: Tensor) -> dict[str, float]:  # noqa: ARG002
        """Further figures for the record, by name."""
        return {}

    def chosen(self, total: Tensor) -> dict[str, float]:  # noqa: ARG002
        """What decides about inputs to come, chosen on this split, for the record by name: such as a threshold."""
        return {}

    def drawn(self, total: Tensor) -> dict[str, Any]:  # noqa: ARG002
        """What pictures of the split are drawn from, for `recall.json` by name: JSON values."""
        return {}


@dataclass(frozen=True)
class TallyMeasure(Measure):
    """The measure of an objective whose score is computed from a tally."""

    tally: Callable[[Tensor, Tensor], Tensor]
    size: int
    of_counts: Callable[[list[int]], float]

    def start(self, device: torch.device) -> Tensor:
        """Zeros, int64 `[size]`."""
        return torch.zeros(self.size, dtype=torch.int64, device=device)

    def add(self, total: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Add the tally of the batch."""
        total += self.tally(outputs, labels)

    def score(self, total: Tensor) -> float:
        """Of the counts."""
        return self.of_counts(total.tolist())
