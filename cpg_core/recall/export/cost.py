"""What a network costs: multiply-adds and channels counted, milliseconds measured."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from cpg_core.recall.export.formats import Answers

LEAST_SECONDS = 0.5
"""An image is answered again and again for so long, of which the median is told."""


def counted(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Output channels of all convolutions and linear layers, and their multiply-adds for one image of that shape."""
    found: list[tuple[int, int]] = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        found.append((len(weight), output.numel() * weight[0].numel()))

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(torch.zeros(1, *shape, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(channels for channels, _ in found), sum(adds for _, adds in found)


def milliseconds(answers: Answers, shape: tuple[int, ...]) -> float:
    """Milliseconds of one image, the median over half a second."""
    pixels, seconds = np.zeros((1, *shape), dtype=np.uint8), list[float]()
    answers(pixels)
    while not seconds or sum(seconds) < LEAST_SECONDS:
        start = perf_counter()
        answers(pixels)
        seconds.append(perf_counter() - start)
    return 1000 * median(seconds)
