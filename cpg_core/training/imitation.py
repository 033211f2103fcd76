"""Learning from a network in place of labels (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network,
2015, eq. 4 and section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div
from torch.nn.modules.batchnorm import _BatchNorm

from cpg_core.model.network import Network


@dataclass(frozen=True)
class Teacher:
    """The network that is imitated, in evaluation mode.

    Attributes:
        temperature: T; higher is softer.
    """

    network: Network
    temperature: float

    def loss(self, outputs: Tensor, images: Tensor) -> Tensor:
        """T^2 times the Kullback-Leibler divergence of softened outputs `[N, classes]` from the teacher's."""
        with torch.no_grad():
            wanted = (self.network(images) / self.temperature).softmax(dim=1)
        found = (outputs / self.temperature).log_softmax(dim=1)
        return self.temperature**2 * kl_div(found, wanted, reduction="batchmean")


def hold_statistics(network: Network) -> None:
    """Have batch norm compute with its statistics as they are, until the network's mode is set again."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
