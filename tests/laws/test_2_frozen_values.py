"""Law 2: what is fixed cannot move, whatever momentum, decay or gradient there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import pytest
import torch
from core.tiny import random_layers, settings, values
from torch import Tensor

from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import adam_scores

WARM, STEPS = 5, 10


class Trainer(Protocol):
    """What the law asks of an optimizer."""

    def set_fixed(self, name: str, positions: Tensor, value: float) -> None: ...

    def set_rates(self, lr: float, score_lr: float = 0.0) -> None: ...

    def update(self) -> None: ...


def network() -> Network:
    return build("digits_cnn", 0.5, 2, "law 2").to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def optimizer_of(net: Network, kind: str, fixed: Layers, *, scored: bool, compiled: bool = False) -> TaskOptimizer:
    config = settings(f"optimizer.kind={kind}", "optimizer.weight_decay=0.1").optimizer
    trainable = {name: ~mask for name, mask in fixed.items()}
    return TaskOptimizer(
        net, trainable, values(net), config, scores=adam_scores(0.01, 0.005) if scored else None, compiled=compiled
    )


@dataclass
class ZeroedGradients:
    """The wrong way: torch's own optimizer, with the gradient of what is fixed set to 0."""

    net: Network
    kind: str
    fixed: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = shared_parameters(self.net).values()
        self.torch = (
            torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1)
            if self.kind == "sgd"
            else torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
        )

    def set_fixed(self, name: str, positions: Tensor, value: float) -> None:
        self.fixed[name] = positions
        shared_parameters(self.net)[name].data[positions] = value

    def set_rates(self, lr: float, score_lr: float = 0.0) -> None:
        """The rate is fixed."""

    def update(self) -> None:
        for name, positions in self.fixed.items():
            gradient = shared_parameters(self.net)[name].grad
            assert gradient is not None
            gradient[positions] = 0
        self.torch.step()


def step(net: Network, trainer: Trainer, number: int) -> None:
    """One step with large random gradients on every weight, what is fixed included."""
    for parameter in net.parameters():
        generator = torch.Generator().manual_seed(number)
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    trainer.set_rates(0.01, 0.001)
    trainer.update()


def half(seed: int) -> dict[str, Tensor]:
    shapes = {name: parameter.shape for name, parameter in shared_parameters(network()).items()}
    return {name: noise > 0 for name, noise in random_layers(seed, shapes).items()}


def moves_once_fixed(net: Network, trainer: Trainer) -> bool:
    """Whether anything that is fixed at 0 after some warm steps moves in later ones; all else must."""
    for number in range(WARM):
        step(net, trainer, number)
    masks = half(seed=3)
    for name, positions in masks.items():
        trainer.set_fixed(name, positions, 0.0)
    before, moved = values(net), False
    for number in range(WARM, WARM + STEPS):
        step(net, trainer, number)
        now = values(net)
        moved |= any(not torch.equal(now[name][mask], torch.zeros(int(mask.sum()))) for name, mask in masks.items())
        assert all((now[name] != before[name])[~mask].all() for name, mask in masks.items())
    return moved


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_is_fixed_under_warm_momentum_stays(kind: str) -> None:
    net = network()
    nothing = {name: torch.zeros_like(mask) for name, mask in half(seed=3).items()}
    assert not moves_once_fixed(net, optimizer_of(net, kind, nothing, scored=False))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_zeroed_gradients_fail_the_same_check(kind: str) -> None:
    net = network()
    assert moves_once_fixed(net, ZeroedGradients(net, kind))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_earlier_weights_that_are_all_used_keep_their_bits(kind: str) -> None:
    net = network()
    masks = half(seed=5)
    optimizer, before = optimizer_of(net, kind, masks, scored=False), values(net)
    for number in range(STEPS):
        step(net, optimizer, number)
        now = values(net)
        assert all(torch.equal(now[name][mask], before[name][mask]) for name, mask in masks.items())
        assert all((now[name] != before[name])[~mask].all() for name, mask in masks.items())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "sgd compiled"])
def test_a_picked_weight_is_its_value_or_zero_and_then_stands_still(request: pytest.FixtureRequest, kind: str) -> None:
    kind, _, compiled = kind.partition(" ")
    if compiled:
        request.getfixturevalue("compiler")
    net = network()
    masks = half(seed=5)
    optimizer, before = optimizer_of(net, kind, masks, scored=True, compiled=bool(compiled)), values(net)
    seen: set[bool] = set()
    for number in range(STEPS):
        step(net, optimizer, number)
        for name, now in values(net).items():
            used = now[masks[name]] != 0
            assert torch.equal(now[masks[name]], torch.where(used, before[name][masks[name]], 0.0))
            seen |= set(used.tolist())
    assert seen == {True, False}, "picks were learned: some weights are used, others are not"
    optimizer.freeze_picks()
    picked = values(net)
    for number in range(STEPS, 2 * STEPS):
        step(net, optimizer, number)
        now = values(net)
        assert all(torch.equal(now[name][mask], picked[name][mask]) for name, mask in masks.items())
        assert all((now[name] != picked[name])[~mask].all() for name, mask in masks.items())
