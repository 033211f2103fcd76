"""A step on static buffers, as a GPU replays it, is the step as it is written; so is an evaluation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from core.tiny import bits, settings
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.training.captured import Captured
from cpg_core.training.evaluation import Evaluator
from cpg_core.training.optimizer import Slot, TaskOptimizer
from cpg_core.training.ranks import SINGLE_PROCESS, SingleProcess
from cpg_core.training.score_rules import adam_scores
from cpg_core.training.step import Penalty, TrainStep, no_penalty

BATCH, BATCHES = 8, 7


def network(precision: str = "float32") -> Network:
    return build("digits_cnn", 0.5, 2, "step").place(torch.device("cpu"), precision)


def batches() -> list[tuple[Tensor, Tensor]]:
    """Full ones, and an odd last one."""
    generator = torch.Generator().manual_seed(3)
    sizes = [BATCH] * (BATCHES - 1) + [5]
    return [(torch.randn(n, 1, 8, 8, generator=generator), torch.randint(2, (n,), generator=generator)) for n in sizes]


def optimizer_of(net: Network, kind: str) -> TaskOptimizer:
    values = {name: value.detach().clone() for name, value in shared_parameters(net).items()}
    trainable = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in values.items()}
    for mask in trainable.values():
        mask[::2] = True
    config = settings(f"optimizer.kind={kind}").optimizer
    return TaskOptimizer(net, trainable, values, config, scores=adam_scores(0.01, 0.005), compiled=False)


def prune(net: Network, optimizer: TaskOptimizer, done: int) -> None:
    """Takes weights out between two steps, and lets the picks stand still, as the stages do."""
    if done == 2:
        for name, mask in optimizer.trainable().items():
            optimizer.set_fixed(name, mask & (shared_parameters(net)[name].detach().abs() < 0.1), 0.0)
    if done == 4:
        optimizer.freeze_picks()


def learn(
    kind: str,
    *,
    static: bool,
    hook: Callable[[Network, TaskOptimizer, int], None] = prune,
    penalty: Penalty = no_penalty,
) -> tuple[Layers, object]:
    net = network()
    optimizer = optimizer_of(net, kind)
    step = TrainStep(net, optimizer, penalty, full_batch=BATCH, static=static)
    step.start_sums(0.0, ())
    net.train()
    for done, (images, labels) in enumerate(batches()):
        hook(net, optimizer, done)
        step(images, labels, in_batch=len(labels), done=done, lr=0.01 / (done + 1), score_lr=0.004)
    return {**net.state_dict(), **optimizer.tensors()}, step.sums()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_static_buffers_change_no_bit_over_pruning_and_the_freeze_of_picks(kind: str) -> None:
    tensors, sums = learn(kind, static=True)
    expected, expected_sums = learn(kind, static=False)
    assert bits(tensors) == bits(expected)
    assert sums == expected_sums
    unpruned, _ = learn(kind, static=True, hook=lambda *_: None)
    assert bits(unpruned) != bits(expected), "the control: without the hook it goes elsewhere"


class Twice(SingleProcess):
    """A rank that has twice the mean share of a batch."""

    def scale_loss(self, loss: Tensor, images: int, in_batch: int) -> Tensor:  # noqa: ARG002
        """Twice the loss."""
        return 2 * loss


def test_a_penalty_counts_as_much_as_the_loss_whatever_share_of_a_batch_a_rank_has() -> None:
    """LwF's is a mean over the rank's own images, as the loss is."""
    heads = []
    for ranks in (SINGLE_PROCESS, Twice()):
        net = network()
        step = TrainStep(
            net, optimizer_of(net, "sgd"), lambda net, *_: net.head.bias.sum(), full_batch=BATCH, static=False,
            ranks=ranks,
        )  # fmt: skip
        images, labels = next(iter(batches()))
        before = net.head.bias.detach().clone()
        step.start_sums(0.0, ())
        net.train()
        step(images, labels, in_batch=len(labels), done=0, lr=0.01, score_lr=0.004)
        heads.append(net.head.bias.detach() - before)
    assert torch.allclose(heads[1], 2 * heads[0], rtol=1e-4)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_a_recording_would_read_stays_where_it_is(kind: str) -> None:
    """A replay reads and writes the addresses of its recording: pruning and other rates must not move a buffer."""
    net = network()
    optimizer = optimizer_of(net, kind)

    def addresses() -> dict[str, int]:
        buffers = {f"{name}.{key}": t for name, slot in optimizer.slots.items() for key, t in slot.buffers().items()}
        rates = {"hyper": optimizer._hyper, "score_hyper": optimizer._score_hyper}
        return {name: tensor.data_ptr() for name, tensor in {**net.state_dict(), **buffers, **rates}.items()}

    before = addresses()
    step = TrainStep(net, optimizer, full_batch=BATCH, static=True)
    for done, (images, labels) in enumerate(batches()):
        prune(net, optimizer, done)
        step(images, labels, in_batch=len(labels), done=done, lr=0.01, score_lr=0.004)
        now = addresses()
        assert now == {name: before[name] for name in now}
    optimizer.load({name: tensor.clone() for name, tensor in optimizer.tensors().items()})
    now = addresses()
    assert now == {name: before[name] for name in now}
    assert not any(name.endswith("score") for name in now), "frozen picks have no score"


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_layers_that_move_in_the_backward_pass_move_as_after_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a penalty too, whose own backward pass reads the weights that move."""
    move, alive = TaskOptimizer._move, set[int]()

    def watched(self: TaskOptimizer, slot: Slot) -> None:
        alive.add(sum(slot.parameter.grad is not None for slot in self.slots.values()))
        move(self, slot)

    monkeypatch.setattr(TaskOptimizer, "_move", watched)
    layer_by_layer = learn(kind, static=False, penalty=product_of_weights)
    assert alive == {0, 1}, "one gradient at a time, and none is left for the update"
    monkeypatch.setattr(TaskOptimizer, "backward", lambda _self, loss: loss.backward())
    after = learn(kind, static=False, penalty=product_of_weights)
    assert max(alive) > 1, "the control"
    assert bits(layer_by_layer[0]) == bits(after[0])
    assert layer_by_layer[1] == after[1]


def product_of_weights(net: Network, images: Tensor, step: int) -> Tensor:  # noqa: ARG001
    return torch.stack([value.square().sum() for value in shared_parameters(net).values()]).prod() * 1e-3


def test_an_evaluator_on_static_buffers_sees_each_batch_and_the_network_as_it_stands() -> None:
    net = network().eval()
    with torch.no_grad():
        margins = torch.cat([net(images) @ torch.tensor([1.0, -1.0]) for images, _ in batches()])
        net.head.bias[0] -= margins.median()  # so that about half of the images are said to be of each class
        said = [(images, net(images).argmax(dim=1)) for images, _ in batches()]
    labels = torch.cat([labels for _, labels in said])
    assert 0 < int(labels.sum()) < len(labels)
    evaluate = Evaluator(net, static=True)
    assert evaluate(said) == evaluate(said) == Evaluator(net, static=False)(said) == 1.0
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([1.0, 0.0]))
    assert evaluate(said) == Evaluator(net, static=False)(said) == float((labels == 0).double().mean())


def test_on_the_processor_a_captured_function_runs_at_each_call() -> None:
    calls: list[None] = []
    captured = Captured(lambda: calls.append(None), torch.device("cpu"))
    for _ in range(9):
        captured()
    assert len(calls) == 9


def test_bfloat16_rounds_activations_and_nothing_else() -> None:
    images, labels = batches()[0]
    exact, rounded = network(), network("bfloat16")
    logits = rounded(images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact(images))
    torch.testing.assert_close(logits, exact(images), rtol=0.1, atol=0.1)
    optimizer = optimizer_of(rounded, "sgd")
    TrainStep(rounded, optimizer)(images, labels, in_batch=len(labels), done=0, lr=0.01)
    floats = [tensor for tensor in rounded.state_dict().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}
