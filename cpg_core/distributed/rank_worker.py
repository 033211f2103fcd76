"""The processes of the ranks besides the leader: they are started, do each stage that the leader calls, and end.

They read what the leader has written, and write nothing. They end when the leader does, however it ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from cpg_core.config.compute import Compute
from cpg_core.data.reading.fetch import Share
from cpg_core.distributed.process_group import GRACE, Follower, Leader, RankProcess, join_process_group, lost_rank
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic, device_of
from cpg_core.methods import find
from cpg_core.stages.context import TaskContext
from cpg_core.stages.open_task import open_task
from cpg_core.stages.run_stage import Call, do_work
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.snapshot import ReadOnly
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Interrupted, Silent

READY = b"ready"
SIGNALS = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def start_ranks(run: Run) -> Iterator[Ranks]:
    """The ranks that the settings ask for, inside the block; this process is rank 0.

    Raises:
        CpgError: there are fewer GPUs than processes asked for, or a process does not start.
    """
    compute = run.spec.settings.compute
    if compute.processes == 1:
        yield SINGLE_PROCESS
        return
    _enough_devices(compute)
    from accelerate.utils.other import get_free_port

    port, others = get_free_port(), list[RankProcess]()
    try:
        for index in range(1, compute.processes):
            others.append(_start(run, Share(index, compute.processes), port))
        _wait_for(others)
        with join_process_group(Share(0, compute.processes), port, compute) as device:
            try:
                yield Leader(device, others)
            except BaseException:
                _kill(others)  # the leader has saved what there is to save
                raise
            for other in others:
                other.link.close()
    finally:
        for other in others:
            other.process.join(GRACE)
        _kill(others)


def rank_main(share: Share, root: str, spec: str, port: int, link: Connection) -> None:
    """Run as a rank other than 0, until the leader closes its end of `link`."""
    logging.disable(logging.WARNING)  # the leader logs the same
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Without its leader a rank could wait for ever inside an exchange.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    run = Run(Path(root), RunSpec.model_validate_json(spec))
    compute = run.spec.settings.compute
    link.send_bytes(READY)
    with deterministic(compute.threads), join_process_group(share, port, compute) as device:
        try:
            _serve_calls(run, Follower(share, device, link))
        except Interrupted:
            return
        except CpgError as error:
            link.send_bytes(str(error).encode())
            raise SystemExit(1) from None


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _serve_calls(run: Run, ranks: Follower) -> None:
    context: TaskContext | None = None
    for text in ranks.calls():
        call = Call.model_validate_json(text)
        if context is None or context.index != call.index:
            context = open_task(run, find(run.spec.method), call.index, Silent(), ranks)
        do_work(context, call, ReadOnly)


def _start(run: Run, share: Share, port: int) -> RankProcess:
    """Start a new interpreter: a fork would inherit the threads and the GPU of this one in an unknown state."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    args = (share, str(run.root.resolve()), run.spec.model_dump_json(), port, there)
    process = spawn.Process(target=rank_main, args=args, name=f"rank {share.index}")
    # Blocked signals stay so in a child: Ctrl-C and SIGTERM reach the leader alone, which stops all at one batch.
    resource_tracker.ensure_running()  # started later, it would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return RankProcess(process, here)


def _wait_for(others: list[RankProcess]) -> None:
    """Wait until all ranks run, or one has ended: joining a process group waits for all of its members."""
    for other in others:
        multiprocessing.connection.wait([other.link, other.process.sentinel])
        try:
            other.link.recv_bytes()
        except (EOFError, OSError):
            raise lost_rank(others) or EOFError from None


def _kill(others: list[RankProcess]) -> None:
    for other in others:
        if other.process.is_alive():
            other.process.kill()
            other.process.join()
        other.link.close()


def _enough_devices(compute: Compute) -> None:
    if device_of(compute.device).type == "cuda" and torch.cuda.device_count() < compute.processes:
        raise CpgError(
            f"compute.processes is {compute.processes}, one a GPU, and this machine has {torch.cuda.device_count()}; "
            "ask for so many at the most, or for compute.device=cpu"
        )
