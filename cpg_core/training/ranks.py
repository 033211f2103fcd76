"""The processes that do every stage of a task together, and the single process, which has the same interface.

Each rank holds the whole network and takes its share of every batch. Every decision rests on numbers that are the same
on all ranks. Rank 0 leads: it alone looks for finished stages, writes, reports and is asked to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn

from cpg_core.data.reading.fetch import WHOLE, Share
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network


class Ranks(Protocol):
    """One process of several, as a stage sees it."""

    @property
    def share(self) -> Share:
        """Which part of every batch is this rank's, and how many parts there are."""
        ...

    def on_all_ranks(self, call: str) -> AbstractContextManager[None]:
        """Call all ranks to the stage that is done inside the block.

        Raises:
            CpgError: a rank was lost, or failed alone.
        """
        ...

    def stop(self, asked: bool) -> bool:
        """Whether the leader was asked to stop: all stop at the same batch."""
        ...

    def wrap_ddp(self, network: Network) -> nn.Module:
        """The module to call instead of the network, so that every rank gets the gradients of the whole batch."""
        ...

    def scale_loss(self, loss: Tensor, images: int, in_batch: int) -> Tensor:
        """Scales the local loss so that averaging over ranks gives the batch mean, even with unequal shards.

        Args:
            loss: mean over this rank's images.
            images: how many these are.
            in_batch: how many there are over all ranks.
        """
        ...

    def all_reduce(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """Each number, or tensor of numbers, summed over the ranks."""
        ...

    def assert_identical(self, tensors: Callable[[], Layers]) -> None:
        """Check that all ranks hold the same bits.

        Raises:
            CpgError: they do not.
        """
        ...


class SingleProcess:
    """One process, which has every batch to itself."""

    share = WHOLE

    def on_all_ranks(self, call: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """There are no other ranks."""
        return nullcontext()

    def stop(self, asked: bool) -> bool:
        """As asked."""
        return asked

    def wrap_ddp(self, network: Network) -> nn.Module:
        """The network itself."""
        return network

    def scale_loss(self, loss: Tensor, images: int, in_batch: int) -> Tensor:  # noqa: ARG002
        """The loss itself."""
        return loss

    def all_reduce(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """The numbers themselves."""
        return numbers

    def assert_identical(self, tensors: Callable[[], Layers]) -> None:
        """Nothing to compare with."""


SINGLE_PROCESS = SingleProcess()
