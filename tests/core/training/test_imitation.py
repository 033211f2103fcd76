"""Learning from a network in place of labels: the loss, and batch norm that keeps its statistics meanwhile."""

from __future__ import annotations

import torch
from torch import nn

from cpg_core.model.network import build
from cpg_core.training.imitation import Teacher, hold_statistics


def test_the_loss_is_the_divergence_of_softened_outputs() -> None:
    teacher = Teacher(build("digits_cnn", 0.5, 3, 1).eval(), temperature=2.0)
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(teacher.network.head.weight, generator=generator)
    images = torch.rand(4, 1, 8, 8, generator=generator)
    with torch.no_grad():
        same = teacher.network(images)
    p, q = (same / 2).softmax(dim=1), torch.full((4, 3), 1 / 3)
    by_hand = 4 * (p * (p / q).log()).sum(dim=1).mean()
    assert torch.isclose(teacher.loss(torch.zeros(4, 3), images), by_hand, rtol=1e-3)
    assert torch.isclose(teacher.loss(same, images), torch.zeros(()), atol=1e-6)
    assert teacher.loss(same.flip(1), images) > 1e-3


def test_held_statistics_stay_where_a_training_network_moves_them() -> None:
    network = build("digits_cnn", 0.5, 3, 1).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    hold_statistics(network)
    network(images).sum().backward()
    assert all(torch.equal(norm.running_mean, then) for norm, then in zip(norms, before, strict=True))  # type: ignore[arg-type]
    assert all(norm.weight.grad is not None for norm in norms)  # what they scale by is learned all the same
    network.train()
    network(images)
    assert not any(torch.equal(norm.running_mean, then) for norm, then in zip(norms, before, strict=True))  # type: ignore[arg-type]
