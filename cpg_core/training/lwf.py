"""Learning without forgetting: the answers of earlier tasks on the new images are held (Li and Hoiem, ECCV 2016).

The loss of a task gains, for each task before it, the cross entropy between what that task answered on these images
before the new task began and what it answers now, both softened by a temperature (eq. 2 and 3).
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from cpg_core.model.layers import Layers
from cpg_core.model.network import Network
from cpg_core.seeds import derive
from cpg_core.stages.context import TaskContext


@dataclass(frozen=True)
class Answers:
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
        """The distillation loss of one earlier task, drawn anew each step: an estimate of the mean over all of them."""
        private = random.Random(derive(self.seed, step)).choice(self.tasks)
        with torch.no_grad():
            wanted = (functional_call(self.before, private, (images,)) / self.temperature).softmax(dim=1)
        training = network.training
        network.eval()  # an earlier task's batch norm has its own statistics
        found = (functional_call(network, private, (images,)) / self.temperature).log_softmax(dim=1)
        network.train(training)
        loss: Tensor = -(wanted * found).sum(dim=1).mean()
        return loss * self.strength


def answers(context: TaskContext, network: Network) -> Answers:
    """The answers that task `context.index` learns with, from its network before it learns."""
    config, run = context.settings.lwf, context.run
    device = next(network.parameters()).device
    tasks = tuple(
        {name: value.to(device) for name, value in run.delta(index).private.items()}
        for index in range(1, context.index)
    )
    before = copy.deepcopy(network).eval()
    return Answers(config.strength, config.temperature, derive(run.spec.seed, "lwf", context.name), before, tasks)
