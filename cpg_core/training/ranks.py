"""The processes that do every stage of a task together. The null twin keeps the stages free of `if`s.

Each rank holds the whole network and takes its share of every batch. Whatever is decided is decided by numbers that
are the same on all ranks. Rank 0 leads: it alone finds finished stages, writes, reports and is told to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn

from cpg_core.data.fetch import WHOLE, Share
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network


class Ranks(Protocol):
    """One process of several, as a stage sees it."""

    @property
    def share(self) -> Share:
        """Which part of every batch is this rank's, and of how many."""
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
        """What to call for the network's logits, so that gradients are those of the whole batch on every rank."""
        ...

    def scale_loss(self, loss: Tensor, images: int, in_batch: int) -> Tensor:
        """The loss to go back from, given the mean over this rank's `images` of the `in_batch`."""
        ...

    def all_reduce(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """Each number (no dimensions) summed over the ranks."""
        ...

    def assert_identical(self, tensors: Callable[[], Layers]) -> None:
        """Make sure that all ranks hold the same bits.

        Raises:
            CpgError: they do not.
        """
        ...


class SingleProcess:
    """One process, which has every batch to itself."""

    share = WHOLE

    def on_all_ranks(self, call: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nobody to call."""
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
