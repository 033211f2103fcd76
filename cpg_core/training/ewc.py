"""Elastic weight consolidation: springs hold the weights that earlier tasks need (Kirkpatrick et al., PNAS 2017).

The loss of a task gains strength/2 · sum_i sum_j F_ij (w_j - w_ij)^2 over the tasks i before it, where w_i are the
shared weights at the freeze of task i and F_i is the diagonal of the Fisher information there (eq. 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cpg_core.data.batches import eval_batches
from cpg_core.data.split import Split
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, shared_parameters
from cpg_core.recall.recall import network_of
from cpg_core.seeds import derive
from cpg_core.stages.context import TaskContext


@dataclass(frozen=True)
class Springs:
    """All springs of all earlier tasks as one a weight: a sum of squares about centres is a square about their mean.

    Attributes:
        strength: lambda.
        stiffness: sum of the F_i.
        centre: mean of the w_i, weighed by the F_i; 0 where none of them holds the weight.
    """

    strength: float
    stiffness: Layers
    centre: Layers

    def __call__(self, network: Network, images: Tensor, step: int) -> Tensor:  # noqa: ARG002  (as every penalty)
        """The energy of the springs, but for a constant."""
        parts = [
            (self.stiffness[name] * (weight - self.centre[name]).square()).sum()
            for name, weight in shared_parameters(network).items()
        ]
        return self.strength / 2 * torch.stack(parts).sum()


def springs(context: TaskContext, device: torch.device) -> Springs:
    """The springs that task `context.index` learns with.

    Both w_i and F_i come from the checkpoint and the images of task i, so nothing has to be kept for them.
    """
    run, config = context.run, context.settings.ewc
    stiffness: Layers = {}
    pull: Layers = {}
    shared = run.rebuild(0)
    for index in range(1, context.index):
        record, added = run.record(index), run.delta(index)
        shared = run.joined(shared, record, added)
        network = network_of(run, shared, record, added).to(device)
        data = run.data(index)
        seed = derive(run.spec.seed, "fisher", record.name)
        found = fisher(network, data.train, data.mean, data.std, config.images, seed)
        for name, weight in shared_parameters(network).items():
            stiffness[name] = stiffness.get(name, 0) + found[name]
            pull[name] = pull.get(name, 0) + found[name] * weight.detach()
    centre = {name: torch.where(held > 0, pull[name] / held, 0.0) for name, held in stiffness.items()}
    return Springs(config.strength, stiffness, centre)


def fisher(network: Network, split: Split, mean: Tensor, std: Tensor, count: int, seed: int) -> Layers:
    """The diagonal of the Fisher information of the shared weights: the mean square of d log p(y | x) / dw.

    Over `count` images x, with y drawn from the network's own answer, as its definition has it.

    Args:
        network: in evaluation mode.
        split: images to draw from.
        mean: of the task's normalisation.
        std: of the task's normalisation.
        count: how many images, at the most.
        seed: of the draws.
    """
    parameters = shared_parameters(network)
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(split), generator=generator)[:count]
    total = {name: torch.zeros_like(weight) for name, weight in parameters.items()}
    for images, _ in eval_batches(split.take(rows.numpy()), mean, std, 1, device):
        logits = network(images)
        answer = torch.multinomial(logits.detach().cpu().softmax(dim=1), 1, generator=generator).flatten()
        gradients = torch.autograd.grad(cross_entropy(logits, answer.to(device)), list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient.square()
    return {name: squares / len(rows) for name, squares in total.items()}
