"""The training loop: patience, and the way back to the best epoch, also for a run that was stopped in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.tiny import bits, settings, spec
from cpg_core.config.schedules import STEADY, Plateau
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.errors import CpgError
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.storage.records import Epoch
from cpg_core.storage.snapshot import Snapshots
from cpg_core.training.loop import Plan, decide_accuracy, train
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.reporter import Interrupted, Silent

RUIN_AT_EPOCH, EPOCHS, BATCHES = 3, 8, 9


def ruin(network: Network, _optimizer: TaskOptimizer, done: int) -> None:
    """From some epoch on every step starts from a head that says the same of every image."""
    if done >= RUIN_AT_EPOCH * BATCHES:
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.tensor([9.0, -9.0]))


class StopsOnceAt(Silent):
    """Asks to stop at one batch."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left == -1


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_task_data(spec(tasks="1").tasks[0], image_size=8, channels=1, val_fraction=0.1, seed=1)


def learn(
    data: TaskData,
    folder: Path,
    reporter: Silent,
    patience: int | None,
    before_step: Callable[[Network, TaskOptimizer, int], None] = ruin,
    **plan_fields: Any,  # noqa: ANN401  (of a Plan)
) -> tuple[Network, tuple[Epoch, ...]]:
    network = build("digits_cnn", 0.5, 2, "training")
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
        task="zero-one",
        stage="retrain",
        seed=(1,),
        epochs=EPOCHS,
        batch_size=32,
        eval_batch_size=250,
        split="val",
        lr=0.01,
        schedule=STEADY,
        score_lr=0.0,
        score_schedule=STEADY,
        patience=patience,
        before_step=before_step,
    )
    plan = replace(plan, **plan_fields)
    return network, train(network, optimizer, data, plan, Snapshots(folder, "key"), reporter)[0]


def test_it_ends_when_patience_does_and_goes_back_to_the_best_epoch(data: TaskData, tmp_path: Path) -> None:
    network, epochs = learn(data, tmp_path, Silent(), patience=2)
    best = max(epoch.accuracy for epoch in epochs)
    first_best = next(epoch.epoch for epoch in epochs if epoch.accuracy == best)
    assert first_best < RUIN_AT_EPOCH
    assert len(epochs) == first_best + 1 + 2
    assert decide_accuracy(network, data, "val", 250) == best > 0.9


def test_a_stop_in_an_epoch_that_diverges_says_so(data: TaskData, tmp_path: Path) -> None:
    with pytest.raises(CpgError, match="the loss is not a finite number"):
        learn(data, tmp_path, StopsOnceAt(5), None, lambda *_: None, lr=1e30)


def test_without_patience_it_runs_to_the_end_and_keeps_what_came_last(data: TaskData, tmp_path: Path) -> None:
    network, epochs = learn(data, tmp_path, Silent(), patience=None)
    assert len(epochs) == EPOCHS
    assert decide_accuracy(network, data, "val", 250) == epochs[-1].accuracy < 0.9


@pytest.mark.parametrize("batch", [BATCHES * RUIN_AT_EPOCH - 1, BATCHES * RUIN_AT_EPOCH, BATCHES * RUIN_AT_EPOCH + 4])
def test_the_best_epoch_is_remembered_over_an_interruption(data: TaskData, tmp_path: Path, batch: int) -> None:
    whole, epochs = learn(data, tmp_path / "whole", Silent(), patience=EPOCHS)
    with pytest.raises(Interrupted):
        learn(data, tmp_path / "stopped", StopsOnceAt(batch), patience=EPOCHS)
    resumed, later_epochs = learn(data, tmp_path / "stopped", Silent(), patience=EPOCHS)
    assert later_epochs == epochs
    assert bits(resumed.state_dict()) == bits(whole.state_dict())
    assert decide_accuracy(resumed, data, "val", 250) > 0.9 > epochs[-1].accuracy


PLATEAU = Plateau(kind="plateau", factor=0.1, patience=1, at_most=2)


def test_the_best_epoch_is_kept_where_training_runs_to_its_end(data: TaskData, tmp_path: Path) -> None:
    network, epochs = learn(data, tmp_path, Silent(), patience=None, keep="best")
    best = max(epoch.accuracy for epoch in epochs)
    assert len(epochs) == EPOCHS
    assert decide_accuracy(network, data, "val", 250) == best > 0.9 > epochs[-1].accuracy


def test_only_epochs_that_count_may_be_kept(data: TaskData, tmp_path: Path) -> None:
    """As while pruning: what was better before weights were taken out is no choice."""
    network, epochs = learn(data, tmp_path, Silent(), patience=None, keep="best", judged_from=RUIN_AT_EPOCH)
    later = [epoch.accuracy for epoch in epochs[RUIN_AT_EPOCH:]]
    assert decide_accuracy(network, data, "val", 250) == max(later) < max(epoch.accuracy for epoch in epochs)


def test_scores_that_do_not_count_make_no_plateau(data: TaskData, tmp_path: Path) -> None:
    rates = {}
    for judged_from in (0, EPOCHS - 1):
        folder = tmp_path / str(judged_from)
        _, epochs = learn(data, folder, Silent(), patience=None, schedule=PLATEAU, judged_from=judged_from)
        rates[judged_from] = [epoch.lr for epoch in epochs]
    assert rates[0][-1] == pytest.approx(0.01 * 0.1**2)
    assert rates[EPOCHS - 1] == [0.01] * EPOCHS


def test_a_plateau_that_stops_ends_the_stage_early(data: TaskData, tmp_path: Path) -> None:
    stopping = PLATEAU.model_copy(update={"at_most": 1, "stop": True})
    _, epochs = learn(data, tmp_path, Silent(), patience=None, schedule=stopping)
    assert RUIN_AT_EPOCH < len(epochs) < EPOCHS


@pytest.mark.parametrize("batch", [BATCHES * RUIN_AT_EPOCH + 4, BATCHES * (RUIN_AT_EPOCH + 2) + 1])
def test_a_plateau_and_the_best_epoch_outlive_an_interruption(data: TaskData, tmp_path: Path, batch: int) -> None:
    how: dict[str, Any] = {"patience": None, "keep": "best", "schedule": PLATEAU}
    whole, epochs = learn(data, tmp_path / "whole", Silent(), **how)
    with pytest.raises(Interrupted):
        learn(data, tmp_path / "stopped", StopsOnceAt(batch), **how)
    resumed, later_epochs = learn(data, tmp_path / "stopped", Silent(), **how)
    assert later_epochs == epochs and epochs[-1].lr < epochs[0].lr
    assert bits(resumed.state_dict()) == bits(whole.state_dict())
