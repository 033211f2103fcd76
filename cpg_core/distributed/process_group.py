"""Ranks: they exchange tensors through torch's process group, and the leader sends the others messages by pipes."""

from __future__ import annotations

import multiprocessing.connection
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cpg_core.config.compute import Compute
from cpg_core.data.reading.fetch import Share
from cpg_core.distributed.sync_batch_norm import sync_batch_norm
from cpg_core.errors import CpgError
from cpg_core.machine import device_of
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network

PATIENCE = timedelta(minutes=30)
"""How long a rank waits in an exchange: the others may still read the data of a task."""
GRACE = 10.0
"""Seconds that a rank has to end by itself."""
GO, STOP = b"go", b"stop"


@contextmanager
def join_process_group(share: Share, port: int, compute: Compute) -> Iterator[torch.device]:
    """Be a rank of the group on this machine inside the block; the rank's device, which is the current one.

    Accelerate chooses device and backend: GPU n and NCCL for rank n, or the processor and gloo.

    Args:
        share: which rank, of how many.
        port: a free one, the same for all ranks.
        compute: what it computes with.
    """
    from accelerate import PartialState
    from accelerate.utils import patch_environment

    variables = {
        "rank": share.index,
        "local_rank": share.index,
        "world_size": share.of,
        "local_world_size": share.of,
        "master_addr": "127.0.0.1",
        "master_port": port,
        "gloo_socket_ifname": "lo",
        "omp_num_threads": compute.threads,  # otherwise it would set a number of its own
    }
    with patch_environment(**variables):
        state = PartialState(cpu=device_of(compute.device).type == "cpu", timeout=PATIENCE)
    try:
        yield state.device
    finally:
        state.destroy_process_group()
        PartialState._reset_state()  # it would be the state of the next group of this process


class Rank:
    """What all ranks have in common."""

    def __init__(self, share: Share, device: torch.device) -> None:
        self.share = share
        self._device = device

    def wrap_ddp(self, network: Network) -> nn.Module:
        """The network with batch norm over the whole batch, and gradients averaged as they come."""
        sync_batch_norm(network, self._device)
        devices = None if self._device.type == "cpu" else [self._device]
        return DistributedDataParallel(network, devices, gradient_as_bucket_view=True)

    def scale_loss(self, loss: Tensor, images: int, in_batch: int) -> Tensor:
        """The loss times this rank's share of the batch, over the mean share."""
        return loss * (images * self.share.of / in_batch)

    def all_reduce(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """One exchange for all numbers."""
        summed = torch.cat([number.to(self._device, torch.float64).reshape(-1) for number in numbers])
        dist.all_reduce(summed)
        parts = torch.split(summed, [number.numel() for number in numbers])
        return tuple(mine.to(of.dtype).reshape(of.shape) for mine, of in zip(parts, numbers, strict=True))

    def assert_identical(self, tensors: Callable[[], Layers]) -> None:
        """Compare the sums of the bit patterns of each tensor, 32 bits a number."""
        held = tensors()
        mine = torch.stack([_bits(tensor).to(self._device) for tensor in held.values()])
        all_of_them = [torch.empty_like(mine) for _ in range(self.share.of)]
        dist.all_gather(all_of_them, mine)
        apart = (torch.stack(all_of_them) != mine).any(dim=0).tolist()
        names = [name for name, differs in zip(held, apart, strict=True) if differs]
        if names:
            raise CpgError(
                f"{self.share.of} processes that learn together hold different bits of {', '.join(names[:3])} "
                f"({len(names)} of {len(held)} tensors). What was saved before is sound: give the same command again; "
                "if it comes back, learn with compute.processes=1"
            )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.int32).sum(dtype=torch.int64)


@dataclass(frozen=True)
class RankProcess:
    """A rank as the leader sees it."""

    process: BaseProcess
    link: Connection


class Leader(Rank):
    """Rank 0: tells the others which stage to do, and when to stop."""

    def __init__(self, device: torch.device, others: Sequence[RankProcess]) -> None:
        super().__init__(Share(0, len(others) + 1), device)
        self._others = others

    @contextmanager
    def on_all_ranks(self, call: str) -> Iterator[None]:
        """Call the others; if an exchange fails because one of them ended, the error says so."""
        try:
            self._tell(call.encode())
            yield
        except (RuntimeError, OSError) as error:
            if told := lost_rank(self._others):
                raise told from error
            raise

    def stop(self, asked: bool) -> bool:
        """Send the others what was asked, without waiting for them."""
        self._tell(STOP if asked else GO)
        return asked

    def _tell(self, message: bytes) -> None:
        for other in self._others:
            other.link.send_bytes(message)


class Follower(Rank):
    """Any other rank: does the stages that the leader calls."""

    def __init__(self, share: Share, device: torch.device, link: Connection) -> None:
        super().__init__(share, device)
        self._link = link

    def calls(self) -> Iterator[str]:
        """The leader's calls, until it closes the pipe or ends."""
        while True:
            try:
                call = self._link.recv_bytes()
            except (EOFError, OSError):
                return
            yield call.decode()

    @contextmanager
    def on_all_ranks(self, call: str) -> Iterator[None]:  # noqa: ARG002
        """The leader has called all ranks."""
        yield

    def stop(self, asked: bool) -> bool:  # noqa: ARG002
        """What the leader was asked."""
        return self._link.recv_bytes() == STOP


def lost_rank(others: Sequence[RankProcess]) -> CpgError | None:
    """The error for the first rank that ended: its own message, if it sent one. None: all are running."""
    ending = multiprocessing.connection.wait([other.process.sentinel for other in others], timeout=GRACE)
    for other in others:
        if other.process.sentinel in ending:
            other.process.join(GRACE)  # its end shows a moment before its exit code does
    for rank, other in enumerate(others, 1):
        try:
            if other.link.poll():
                return CpgError(other.link.recv_bytes().decode())
        except (EOFError, OSError):
            pass
        if not other.process.is_alive():
            return CpgError(
                f"process {rank} of those that learn together ended (exit code {other.process.exitcode}; below 0: the "
                "signal that ended it, and -9 is often a lack of memory). Give the same command again to go on"
            )
    return None
