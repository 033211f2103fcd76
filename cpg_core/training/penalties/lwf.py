"""The distillation loss of learning without forgetting (Li and Hoiem, ECCV 2016).

For each earlier task, the cross entropy between what it answered on these images before the new task began and what it
answers now, both softened by a temperature (eq. 2 and 3).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from cpg_core.model.layers import Layers
from cpg_core.model.network import Network
from cpg_core.seeds import derive


@dataclass(frozen=True)
class DistillationLoss:
    """What earlier tasks answer, by the network as it was and as it is.

    Attributes:
        strength: of the mean over the earlier tasks.
        temperature: T; higher is softer.
        seed: of which task is asked at which step.
        before: the network as the last task left it.
        tasks: private parameters of each earlier task.
    """

    strength: float
    temperature: float
    seed: int
    before: Network
    tasks: tuple[Layers, ...]

    def __call__(self, network: Network, images: Tensor, step: int) -> Tensor:
        """The loss of one earlier task, drawn anew each step: an estimate of the mean over all of them."""
        private = random.Random(derive(self.seed, step)).choice(self.tasks)
        with torch.no_grad():
            wanted = (functional_call(self.before, private, (images,)) / self.temperature).softmax(dim=1)
        training = network.training
        network.eval()  # an earlier task's batch norm has its own statistics
        found = (functional_call(network, private, (images,)) / self.temperature).log_softmax(dim=1)
        network.train(training)
        loss: Tensor = -(wanted * found).sum(dim=1).mean()
        return loss * self.strength


def distillation_loss(
    network: Network, earlier: Sequence[Layers], strength: float, temperature: float, seed: int
) -> DistillationLoss:
    """The loss that holds what earlier tasks answer.

    Args:
        network: before it learns the new task; it is copied.
        earlier: private parameters of each earlier task.
        strength: lambda_o.
        temperature: T.
        seed: of which task is asked at which step.
    """
    device = network.device
    tasks = tuple({name: value.to(device) for name, value in private.items()} for private in earlier)
    return DistillationLoss(strength, temperature, seed, copy.deepcopy(network).eval(), tasks)
