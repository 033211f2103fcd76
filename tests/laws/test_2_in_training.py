"""Law 2, in a whole training: what a task is kept with computes with the very weights that were trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from core.tiny import KEEPING

from cpg_core.model.network import Network, shared_parameters
from cpg_core.model.state import effective
from cpg_core.runner import learn_sequence
from cpg_core.stages import train_state as module
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.train_state import Trained
from cpg_core.storage.run import Run
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.reporter import Silent


def kept_as_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each training of what a task holds: whether own values and picked older ones are the weights it ended with.

    A fixed weight that moves in training is read from earlier tasks afterwards, without what it moved by.
    """
    contexts, same = list[TaskContext](), list[bool]()
    train_state, outcome_of = module.train_state, module.outcome_of

    def noting(context: TaskContext, *args: object, **how: object) -> Trained:
        contexts.append(context)
        return train_state(context, *args, **how)

    def comparing(trained: Trained, budget_x: float, **masks: object) -> Outcome:
        outcome = outcome_of(trained, budget_x, **masks)
        computed = effective(contexts[-1].shared(budget_x), outcome.state)
        same.append(all(torch.equal(computed[name], weight) for name, weight in trained.weights.items()))
        return outcome

    monkeypatch.setattr(module, "train_state", noting)
    monkeypatch.setattr(module, "outcome_of", comparing)
    learn_sequence(run, Silent())
    return same


@pytest.mark.parametrize("method", KEEPING)
def test_what_is_kept_is_what_was_trained(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    same = kept_as_trained(new_run(method=method, tasks="1-2"), monkeypatch)
    assert len(same) >= (1 if method == "piggyback" else 2)
    assert all(same)


def test_a_training_that_moves_fixed_weights_fails_the_same_check(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = module.train

    def careless(network: Network, optimizer: TaskOptimizer, *rest: object) -> object:
        found = train(network, optimizer, *rest)
        with torch.no_grad():
            for name, trained in optimizer.trainable().items():
                weight = shared_parameters(network)[name]
                weight[~trained & (weight != 0)] += 1e-3
        return found

    monkeypatch.setattr(module, "train", careless)
    same = kept_as_trained(new_run(tasks="1-2"), monkeypatch)
    assert same[0], "no weight of task 1 is fixed"
    assert not all(same)
