"""Networks with random weights in which no layer is dead, so that what they give depends on every layer."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


def with_statistics(network: N, images: Tensor) -> N:
    """The network in evaluation mode, in place, with random scales of batch norm and the statistics of a batch.

    With random statistics the activations of a deep network die: all images then give the same.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5, torch.Generator().manual_seed(module.num_features))
    with torch.no_grad():
        network.train()(images)
    return network.eval()
