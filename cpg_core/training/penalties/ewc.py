"""The penalty of elastic weight consolidation (Kirkpatrick et al., PNAS 2017).

strength/2 · sum_i sum_j F_ij (w_j - w_ij)^2 over earlier tasks i, where w_i are the shared weights at the freeze of
task i and F_i is the diagonal of the Fisher information there (eq. 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cpg_core.data.batches import eval_batches
from cpg_core.data.splits.split import Split
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, shared_parameters


@dataclass(frozen=True)
class EwcPenalty:
    """The terms of all earlier tasks as one: a sum of squares about centres is, but for a constant, one square.

    Attributes:
        strength: lambda.
        importance: sum of the F_i.
        centre: mean of the w_i, weighted by the F_i; 0 where none of them holds the weight.
    """

    strength: float
    importance: Layers
    centre: Layers

    def __call__(self, network: Network, images: Tensor, step: int) -> Tensor:  # noqa: ARG002  (as every penalty)
        """The penalty, but for a constant."""
        parts = [
            (self.importance[name] * (weight - self.centre[name]).square()).sum()
            for name, weight in shared_parameters(network).items()
        ]
        return self.strength / 2 * torch.stack(parts).sum()


def ewc_penalty(strength: float, earlier: Iterable[tuple[Layers, Layers]]) -> EwcPenalty:
    """The penalty that holds the weights that earlier tasks need.

    Args:
        strength: lambda.
        earlier: of each earlier task, the shared weights at its freeze and their Fisher information.
    """
    importance: Layers = {}
    weighted: Layers = {}
    for weights, information in earlier:
        for name, weight in weights.items():
            importance[name] = importance.get(name, 0) + information[name]
            weighted[name] = weighted.get(name, 0) + information[name] * weight
    centre = {name: torch.where(total > 0, weighted[name] / total, 0.0) for name, total in importance.items()}
    return EwcPenalty(strength, importance, centre)


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
    device = network.device
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
