"""Reading a network without changing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cpg_core.model.network import Network
from cpg_core.seeds import derive
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks

PROBE_IMAGES = 8


@contextmanager
def eval_mode(network: Network) -> Iterator[Network]:
    """The network in evaluation mode and without gradients inside the block; its mode is put back after it."""
    training = network.training
    if training:  # a walk through all modules, which a network that is only recalled is spared
        network.eval()
    try:
        with torch.inference_mode():
            yield network
    finally:
        if training:
            network.train()


def accuracy(network: Network, batches: Iterable[tuple[Tensor, Tensor]], ranks: Ranks = SINGLE_PROCESS) -> float:
    """The score of the network's objective over all images, in [0, 1], over the shares of all ranks.

    Waits for the device once, after the last batch.
    """
    objective = network.objective
    tally = torch.zeros(objective.tally_size, dtype=torch.int64, device=next(network.parameters()).device)
    with eval_mode(network):
        for images, labels in batches:
            tally += objective.tally(network(images), labels)
    (summed,) = ranks.all_reduce(tally)
    return objective.score(summed.tolist())


def probe_images(channels: int, size: int) -> Tensor:
    """A fixed batch of noise, float32 `[8, C, H, W]`: the same for every task, run and version of torch's samplers.

    A linear congruential sequence is used rather than a random generator, so that the probe can be made anew for as
    long as checkpoints live.
    """
    count = PROBE_IMAGES * channels * size * size
    state = derive("probe") % 2**31
    values = []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state >> 16)
    noise = torch.tensor(values, dtype=torch.float32).reshape(PROBE_IMAGES, channels, size, size)
    return (noise / 2**14 - 1) * 1.7


def probe_logits(network: Network, probe: Tensor) -> Tensor:
    """Logits of the probe batch, float32 `[8, classes]` on the CPU."""
    with eval_mode(network):
        logits: Tensor = network(probe)
    return logits.cpu()
