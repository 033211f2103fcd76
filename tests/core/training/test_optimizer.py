"""The one-pass update is torch's own optimizer where a weight is free, and Adam on the scores where it is fixed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from core.tiny import bits, random_layers, settings, values
from cpg_core.config.settings import Optimizer
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.training import compiler
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import adam_scores
from cpg_core.training.update_rules import Rule

LR, SCORE_LR, DECAY, STEPS = 0.01, 0.002, 0.05, 20
NOISE = LR / 10_000
"""Of floats in another order, where Adam divides by a small number."""
KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, LR, momentum=0.9, nesterov=True, weight_decay=DECAY),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, LR, betas=(0.9, 0.999), weight_decay=DECAY),
}


def network() -> Network:
    return build("digits_cnn", 0.3, 2, "optimizer").to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def some(net: Network, seed: int) -> Layers:
    return random_layers(seed, {name: parameter.shape for name, parameter in shared_parameters(net).items()})


def make(net: Network, kind: str, trainable: Layers, *, scored: bool) -> TaskOptimizer:
    config = settings(f"optimizer.kind={kind}", f"optimizer.weight_decay={DECAY}").optimizer
    return TaskOptimizer(
        net, trainable, values(net), config, scores=adam_scores(0.01, 0.005) if scored else None, compiled=False
    )


def step(net: Network, optimizer: TaskOptimizer, number: int) -> Layers:
    gradients = some(net, number)
    for name, parameter in shared_parameters(net).items():
        parameter.grad = gradients[name].clone()
    for parameter in net.parameters():
        parameter.grad = parameter.grad if parameter.grad is not None else torch.ones_like(parameter)
    optimizer.set_rates(LR, SCORE_LR)
    optimizer.update()
    return gradients


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_may_move_from_now_on_has_no_momentum(kind: str) -> None:
    """While it was fixed it had gradients; without one it stays where it is, but for the decay."""
    net = network()
    fixed = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in values(net).items()}
    optimizer = make(net, kind, fixed, scored=False)
    for number in range(STEPS):
        step(net, optimizer, number)
    start = {name: value.clone() for name, value in values(net).items()}
    for name, mask in fixed.items():
        optimizer.set_trainable(name, ~mask)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_rates(LR)
    optimizer.update()
    for name, value in values(net).items():
        torch.testing.assert_close(value, start[name], rtol=2 * LR * DECAY, atol=0.0)


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_free_weights_move_as_torch_moves_them(kind: str, scored: bool) -> None:
    net = network()
    free = {name: noise > 0 for name, noise in some(net, 99).items()}
    optimizer = make(net, kind, free, scored=scored)
    mirror = {name: torch.nn.Parameter(value) for name, value in values(net).items()}
    reference = KINDS[kind](mirror.values())
    for number in range(STEPS):
        gradients = step(net, optimizer, number)
        for name, parameter in mirror.items():
            parameter.grad = gradients[name]
        reference.step()
        for name, value in values(net).items():
            torch.testing.assert_close(value[free[name]], mirror[name].detach()[free[name]], rtol=1e-5, atol=NOISE)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_move_as_adam_moves_them_and_decide_what_is_used(kind: str) -> None:
    net = network()
    fixed = values(net)
    optimizer = make(
        net, kind, {name: torch.zeros_like(value, dtype=torch.bool) for name, value in fixed.items()}, scored=True
    )
    scores = {name: torch.nn.Parameter(torch.full_like(value, 0.01)) for name, value in fixed.items()}
    reference = torch.optim.Adam(scores.values(), SCORE_LR)
    for number in range(STEPS):
        gradients = step(net, optimizer, number)
        for name, score in scores.items():
            score.grad = gradients[name] * fixed[name]
        reference.step()
        for name, value in values(net).items():
            near = (scores[name].detach() - 0.005).abs() < 1e-6
            expected = torch.where(scores[name].detach() > 0.005, fixed[name], 0.0)
            assert torch.equal(value[~near], expected[~near])
            assert near.float().mean() < 0.01
    used = torch.cat([(value != 0).flatten() for value in values(net).values()])
    assert 0.2 < used.float().mean() < 0.8


@pytest.mark.parametrize("frozen_picks", [True, False])
@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_goes_on_to_the_bit(kind: str, scored: bool, frozen_picks: bool) -> None:
    net = network()
    trainable = {name: noise > 0 for name, noise in some(net, 99).items()}
    optimizer = make(net, kind, trainable, scored=scored)
    for number in range(5):
        step(net, optimizer, number)
    if frozen_picks:
        optimizer.freeze_picks()
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    other = network()
    other.load_state_dict(state)
    again = make(other, kind, trainable, scored=scored)
    again.load(saved)
    for number in range(5, 10):
        step(net, optimizer, number)
        step(other, again, number)
    assert bits(net.state_dict()) == bits(other.state_dict())
    assert bits(optimizer.tensors()) == bits(again.tensors())

    forgetful = network()
    forgetful.load_state_dict(state)
    fresh = make(forgetful, kind, trainable, scored=scored)
    for number in range(5, 10):
        step(forgetful, fresh, number)
    assert bits(net.state_dict()) != bits(forgetful.state_dict()), "the control: without its state it goes elsewhere"


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_in_chunks_it_moves_as_in_one_piece(kind: str, scored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, also where the last chunk is shorter."""

    def moved() -> tuple[dict[str, bytes], dict[str, bytes]]:
        net = network()
        optimizer = make(net, kind, {name: noise > 0 for name, noise in some(net, 99).items()}, scored=scored)
        for number in range(4):
            step(net, optimizer, number)
        return bits(net.state_dict()), bits(optimizer.tensors())

    whole = moved()
    lengths: list[int] = []
    for kernel in (compiler.weights_pass, compiler.picks_pass):

        def watched(rule: Rule, value: Tensor, *args: object, kernel: Callable[..., None] = kernel) -> None:
            lengths.append(len(value))
            kernel(rule, value, *args)

        monkeypatch.setattr(f"cpg_core.training.optimizer.{kernel.__name__}", watched)
    monkeypatch.setattr(compiler, "EAGER_CHUNK", 50)
    assert moved() == whole
    assert max(lengths) == 50 and len(set(lengths)) > 1


def test_private_parameters_are_trained_without_decay() -> None:
    net = network()
    everything = {name: torch.ones_like(value, dtype=torch.bool) for name, value in values(net).items()}
    optimizer = make(net, "sgd", everything, scored=False)
    before = net.head.weight.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_rates(LR)
    optimizer.update()
    assert torch.equal(net.head.weight, before)
    assert not torch.equal(shared_parameters(net)["0.weight"], values(network())["0.weight"]), "decay moves shared ones"


@pytest.mark.usefixtures("compiler")
def test_one_compiled_pass_serves_the_layers_of_every_width_and_stage() -> None:
    """A pass that is compiled anew for each shape or stage hits the compiler's limit of eight and ends the run."""
    for step in range(10):
        config = Optimizer(kind="sgd" if step < 5 else "adamw", momentum=0.9, weight_decay=1e-4)
        network = build("digits_cnn", 1 + step / 10, 2, step)
        everything = {name: torch.ones_like(value, dtype=torch.bool) for name, value in values(network).items()}
        optimizer = TaskOptimizer(
            network,
            everything,
            values(network),
            config,
            scores=adam_scores(0.01, 0.005) if step % 2 == 0 else None,
            compiled=True,
        )
        before = network.backbone[0].weight.detach().clone()
        network(torch.randn(4, 1, 8, 8)).sum().backward()
        optimizer.set_rates(0.1)
        optimizer.update()
        assert not torch.equal(network.backbone[0].weight, before)
