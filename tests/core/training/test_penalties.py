"""Methods that train over earlier weights and hold these by a penalty: EWC and LwF."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from core import tiny
from core.tiny import spec
from core.witness import Witness
from cpg_core.data.batches import eval_batches
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of, ewc, find
from cpg_core.model.network import Network, shared_parameters
from cpg_core.objectives.classification import OBJECTIVE
from cpg_core.runner import learn_sequence
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.stages.open_task import open_task
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.runs import extend
from cpg_core.training.penalties.ewc import ewc_penalty, fisher
from cpg_core.training.penalties.lwf import distillation_loss
from cpg_core.training.reporter import Silent

LONGER = ("pick_train.epochs=8", "pick_train.lr=0.02", "pick_train.score_freeze_epoch=6")


def drift(new_run: Callable[..., Run], method: str, *overrides: str) -> float:
    """How far the probabilities of task 1 have moved once task 2 is learned."""
    witness = Witness().learn(new_run(method=method, tasks="1-2", overrides=(*LONGER, *overrides)))
    return float((witness.later[1, 2].softmax(dim=1) - witness.trained[1].softmax(dim=1)).abs().mean())


@pytest.mark.parametrize(("method", "setting", "much"), [("ewc", "ewc.strength", "10"), ("lwf", "lwf.strength", "0.5")])
def test_the_stronger_the_penalty_the_less_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory, method: str, setting: str, much: str
) -> None:
    def forgot(of: str, *overrides: str) -> float:
        return drift(lambda **how: tiny.open_or_new(tmp_path_factory.mktemp("run"), tiny.spec(**how)), of, *overrides)

    nothing, little, strong = (
        forgot("sequential"),
        forgot(method, f"{setting}=1.0e-9"),
        forgot(method, f"{setting}={much}"),
    )
    assert little == pytest.approx(nothing, rel=1e-2)
    assert strong < nothing / 2


def network_after(run: Run, index: int) -> Network:
    record, delta = run.record(index), run.delta(index)
    assembly = assembly_of(run)
    return network_of(assembly, assembly.rebuild(index), record, delta)


def test_the_fisher_information_is_the_mean_square_of_single_gradients(learned: Callable[..., Run]) -> None:
    """Each of an answer that is drawn from the network's own, worked out here from the definition."""
    run = learned(method="sequential", tasks="1-2")
    network, data = network_after(run, 1), run.data(1)
    name, weight = list(shared_parameters(network).items())[-1]
    count, likeliest = 100, 0
    found = fisher(network, data.train, data.mean, data.std, count, 5)[name]
    draws = torch.Generator().manual_seed(5)
    rows = torch.randperm(len(data.train), generator=draws)[:count]
    expected = torch.zeros_like(weight)
    for images, _ in eval_batches(data.train.take(rows.numpy()), data.mean, data.std, 1, "cpu"):
        logs = network(images).log_softmax(dim=1)[0]
        drawn = int(torch.multinomial(logs.detach().exp(), 1, generator=draws))
        likeliest += drawn == int(logs.argmax())
        (gradient,) = torch.autograd.grad(logs[drawn], weight)
        expected += gradient.square() / count
    assert likeliest < count, "the likeliest answers would give the same"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


def test_a_weight_that_no_answer_depends_on_has_no_fisher_information(learned: Callable[..., Run]) -> None:
    run = learned(method="sequential", tasks="1-2")
    network, data = network_after(run, 1), run.data(1)
    with torch.no_grad():
        network.head.weight[:, 0] = 0  # the first feature reaches no answer
    last = list(shared_parameters(network))[-1]
    found = fisher(network, data.train, data.mean, data.std, 20, 5)[last]
    assert float(found[0].sum()) == 0
    assert float(found[1:].sum()) > 0


def test_ewc_needs_the_images_that_were_learned(damageable: Callable[..., Run]) -> None:
    run = damageable(method="ewc", tasks="1")
    file = run.task_folder(1) / RECORD
    write_json(file, {**read_json(file), "data_sha256": "0" * 64})
    with pytest.raises(CpgError, match="task 'zero-one': its images are others"):
        learn_sequence(extend(run, spec(tasks="2").tasks[0], 0.0), Silent())


def test_the_ewc_penalty_is_0_where_a_task_was_frozen_and_pulls_back_to_there(learned: Callable[..., Run]) -> None:
    run = learned(method="ewc", tasks="1-2")
    network = network_after(run, 1)
    context = open_task(run, find("ewc"), 2, Silent())
    found = ewc_penalty(1.0, ewc.earlier_tasks(context))
    images = torch.zeros(1)
    assert found(network, images, 0).item() == pytest.approx(0.0, abs=1e-9)
    with torch.no_grad():
        for weight in shared_parameters(network).values():
            weight.add_(0.01)
    pull = found(network, images, 0)
    assert pull.item() > 0
    pull.backward()
    for name, weight in shared_parameters(network).items():
        held = found.importance[name] > 0
        assert weight.grad is not None
        assert (weight.grad[held] > 0).all()
        assert (weight.grad[~held] == 0).all()


class OneWeight(nn.Module):
    """A backbone of one shared weight, without a bias."""

    out_features = 1

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.linear.weight, weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images)  # type: ignore[no-any-return]


NAME = "linear.weight"


def test_the_ewc_penalty_pulls_to_each_earlier_task_as_hard_as_its_fisher_information_says() -> None:
    """1/2 s (F1 (w - w1)^2 + F2 (w - w2)^2) with s = 0.5: its gradient at w = 2 is 0.5 (2 * 1 + 3 * 3) = 5.5."""
    earlier = [({NAME: torch.tensor([[w]])}, {NAME: torch.tensor([[f]])}) for w, f in ((1.0, 2.0), (-1.0, 3.0))]
    network = Network(OneWeight(2.0), 2, OBJECTIVE)
    ewc_penalty(0.5, earlier)(network, torch.zeros(1), 0).backward()
    (weight,) = shared_parameters(network).values()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(5.5)


def test_the_ewc_penalty_differs_from_that_of_the_definition_by_a_constant() -> None:
    """From w = 2, where that is 0.25 (2 * 1 + 3 * 9) = 7.25, to w = 0, where it is 0.25 (2 * 1 + 3 * 1) = 1.25."""
    earlier = [({NAME: torch.tensor([[w]])}, {NAME: torch.tensor([[f]])}) for w, f in ((1.0, 2.0), (-1.0, 3.0))]
    penalty = ewc_penalty(0.5, earlier)
    here, there = (penalty(Network(OneWeight(w), 2, OBJECTIVE), torch.zeros(1), 0).item() for w in (2.0, 0.0))
    assert here - there == pytest.approx(6.0)


def test_a_weight_that_no_earlier_task_needs_is_pulled_nowhere() -> None:
    network = Network(OneWeight(2.0), 2, OBJECTIVE)
    penalty = ewc_penalty(0.5, [({NAME: torch.ones(1, 1)}, {NAME: torch.zeros(1, 1)})])
    penalty(network, torch.zeros(1), 0).backward()
    (weight,) = shared_parameters(network).values()
    assert weight.grad is not None
    assert weight.grad.item() == 0.0


@pytest.mark.parametrize(
    ("temperature", "loss", "gradient"),
    [
        # softmax(ln 3, 0) = (3/4, 1/4) was answered, and (1/4, 3/4) is: 3/4 ln 4 + 1/4 ln 4/3 = 1.1116; slope -1/2 ln 3
        pytest.param(2.0, 1.1116409, -0.5493061, id="T=2"),
        # (9/10, 1/10) and (1/10, 9/10): 9/10 ln 10 + 1/10 ln 10/9 = 2.0829; slope -8/10 * 2 ln 3
        pytest.param(1.0, 2.0828627, -1.7577797, id="T=1"),
    ],
)
def test_the_distillation_loss_is_the_cross_entropy_of_softened_answers(
    temperature: float, loss: float, gradient: float
) -> None:
    """The one weight was 1 and is -1; of the image 1 the logits of the earlier task were (2 ln 3, 0)."""
    head = {"head.weight": torch.tensor([[2 * math.log(3)], [0.0]]), "head.bias": torch.zeros(2)}
    network = Network(OneWeight(1.0), 2, OBJECTIVE)
    penalty = distillation_loss(network, [head], strength=0.5, temperature=temperature, seed=1)
    (weight,) = shared_parameters(network).values()
    with torch.no_grad():
        weight.fill_(-1.0)
    found = penalty(network, torch.ones(1, 1), 0)
    found.backward()
    assert weight.grad is not None
    assert (found.item(), weight.grad.item()) == pytest.approx((0.5 * loss, 0.5 * gradient))


def test_every_earlier_task_is_distilled_and_the_network_is_left_as_it_was(learned: Callable[..., Run]) -> None:
    run = learned(method="lwf")
    network = network_after(run, 2).train()
    heads = [run.delta(index).private for index in (1, 2)]
    penalty = distillation_loss(network, heads, strength=1.0, temperature=2.0, seed=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 1, 8, 8)
    losses = {round(penalty(network, images, step).item(), 5) for step in range(12)}
    assert len(penalty.tasks) == 2
    assert len(losses) == 2  # a loss a task, drawn by the step
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
