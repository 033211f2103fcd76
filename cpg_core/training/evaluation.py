"""Reading a network without changing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cpg_core.model.network import Network
from cpg_core.objectives.measures import Measure
from cpg_core.objectives.pairs import Pairs
from cpg_core.seeds import derive
from cpg_core.training.captured import Captured
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks

PROBE_IMAGES = 8


@contextmanager
def eval_mode(network: Network) -> Iterator[Network]:
    """The network in evaluation mode, without gradients, in its precision; all is as before after the block."""
    training = network.training
    if training:  # a walk through all modules, which a network that is only recalled is spared
        network.eval()
    try:
        with torch.inference_mode(), network.computing():
            yield network
    finally:
        if training:
            network.train()


class Result(NamedTuple):
    """What an evaluation found: the score in [0, 1], and what else its measure says, by name."""

    score: float
    figures: dict[str, float]
    chosen: dict[str, float]
    drawn: dict[str, Any]


class Evaluator:
    """Scores one network again and again, as it stands at each call, waiting for the device once a call.

    On a GPU, batches of a size that has come before are replayed from a recording.

    Args:
        network: may be trained between two calls.
        ranks: the processes that share each batch.
        static: work on tensors that stay, as a recording needs; None: on a GPU, in one process.
        pairs: of the images of each call; None: they have labels.
        measure: how they are measured; None: as the network's objective is.
    """

    def __init__(
        self,
        network: Network,
        ranks: Ranks = SINGLE_PROCESS,
        static: bool | None = None,
        *,
        pairs: Pairs | None = None,
        measure: Measure | None = None,
    ) -> None:
        self._network, self._ranks, self._device = network, ranks, network.device
        self._measure = network.objective.measure_of(pairs) if measure is None else measure
        self._total = self._measure.start(self._device)
        self._static = self._device.type == "cuda" and ranks is SINGLE_PROCESS if static is None else static
        self._by_size: dict[int, tuple[Tensor, Tensor, Captured]] = {}

    def __call__(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """The score of the network's objective over all images, in [0, 1], over the shares of all ranks."""
        return self._measure.score(self.total(batches))

    def result(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Result:
        """The score, and all else that the network's objective tells of the images."""
        total, measure = self.total(batches), self._measure
        return Result(measure.score(total), measure.figures(total), measure.chosen(total), measure.drawn(total))

    def total(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """What the measure adds up over all images; overwritten by the next call."""
        self._total.zero_()
        with eval_mode(self._network):
            for images, labels in batches:
                if self._static:
                    self._replay(images, labels)
                else:
                    self._add(images, labels)
        (total,) = self._ranks.all_reduce(self._total)
        return total

    def _add(self, images: Tensor, labels: Tensor) -> None:
        self._measure.add(self._total, self._network(images), labels)

    def _replay(self, images: Tensor, labels: Tensor) -> None:
        if len(labels) not in self._by_size:
            into = torch.empty_like(images), torch.empty_like(labels)
            self._by_size[len(labels)] = *into, Captured(partial(self._add, *into), self._device)
        static_images, static_labels, run = self._by_size[len(labels)]
        static_images.copy_(images)
        static_labels.copy_(labels)
        run()


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
    """Logits or embeddings of the probe batch, float32 `[8, numbers]` on the CPU."""
    with eval_mode(network):
        logits: Tensor = network(probe)
    return logits.cpu()
