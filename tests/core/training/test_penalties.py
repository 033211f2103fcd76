"""Methods that train over earlier weights and hold these by a penalty: EWC and LwF."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core import tiny
from core.tiny import spec
from core.witness import Witness
from cpg_core.data.batches import eval_batches
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of, ewc, find
from cpg_core.model.network import Network, shared_parameters
from cpg_core.runner import learn_sequence
from cpg_core.stages.open_task import open_task
from cpg_core.stages.recalled_network import network_of
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
        return drift(lambda **how: tiny.begin(tmp_path_factory.mktemp("run"), tiny.spec(**how)), of, *overrides)

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
