"""The network, the loop and the evaluation take head, loss and score from the objective, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.tiny import settings, spec
from cpg_core import backbones, objectives
from cpg_core.config.schedules import STEADY
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.errors import CpgError
from cpg_core.model.network import Network, shared_parameters
from cpg_core.objectives import Objective
from cpg_core.storage.records import Epoch
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.loop import Plan, decide_accuracy, train
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.reporter import Silent


def distance(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs[:, 0] - labels).abs()


NUMBER = Objective(
    head=lambda features, _classes: nn.Linear(features, 1),
    loss=lambda outputs, labels, _steps: distance(outputs, labels).square().mean(),
    tally=lambda outputs, labels: torch.stack([(distance(outputs, labels) > 0.5).sum(), torch.tensor(len(labels))]),
    tally_size=2,
    score=lambda counts: 1 - counts[0] / counts[1],
)
"""The label, 0 or 1, as a number; the score is the share of images within a half of theirs."""


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_task_data(spec(tasks="1").tasks[0], image_size=8, channels=1, val_fraction=0.1, seed=1)


def learn(data: TaskData, folder: Path, objective: Objective) -> tuple[Network, tuple[Epoch, ...]]:
    torch.manual_seed(1)
    network = Network(backbones.find("digits_cnn").build(0.5), 2, objective)
    values = {name: value.detach() for name, value in shared_parameters(network).items()}
    optimizer = TaskOptimizer(
        network,
        {name: torch.ones_like(value, dtype=torch.bool) for name, value in values.items()},
        values,
        settings().optimizer,
        scores=None,
        compiled=False,
    )
    plan = Plan(
        task="zero-one", stage="retrain", seed=(1,), epochs=6, batch_size=32, eval_batch_size=20, split="val", lr=0.01,
        schedule=STEADY, patience=2,
    )  # fmt: skip
    return network, train(network, optimizer, data, plan, Snapshots(folder, "key"), Silent())[0]


def test_another_objective_is_learned_and_its_best_epoch_is_kept(data: TaskData, tmp_path: Path) -> None:
    network, epochs = learn(data, tmp_path, NUMBER)
    found = [epoch.accuracy for epoch in epochs]
    assert epochs[-1].loss < epochs[0].loss
    assert found[-1] > 0.9
    assert decide_accuracy(network, data, "val", 20) == max(found) > min(found)


def test_a_tally_adds_up_over_batches_of_any_size() -> None:
    objective = objectives.find("classification")
    logits, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 0, 0])
    whole = objective.tally(logits, labels)
    parts = objective.tally(logits[:1], labels[:1]) + objective.tally(logits[1:], labels[1:])
    assert whole.tolist() == parts.tolist() == [2, 3]
    assert objective.score(whole.tolist()) == 2 / 3


def test_an_objective_that_is_not_there_is_an_error_in_words() -> None:
    with pytest.raises(CpgError, match=r"objective 'classifcation'.*classification"):
        objectives.find("classifcation")
