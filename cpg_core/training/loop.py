"""The one training loop: every stage that trains is a `Plan` run by `train`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cpg_core.config.schedules import STEADY, Keep, Schedule
from cpg_core.data.batches import batch_count, eval_batches, train_batches
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network
from cpg_core.seeds import derive
from cpg_core.storage.named_tensors import flatten, unflatten
from cpg_core.storage.records import Epoch
from cpg_core.storage.snapshot import Position, Snapshots, due
from cpg_core.training.evaluation import Evaluator
from cpg_core.training.imitation import Teacher, hold_statistics
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Interrupted, Reporter
from cpg_core.training.schedules import ended, factor, plateaus
from cpg_core.training.step import Penalty, TrainStep, no_penalty


@dataclass(frozen=True)
class Plan:
    """How a stage trains.

    Attributes:
        seed: words that, with the epoch, give the order and augmentation of its batches.
        freeze_picks_epoch: from this epoch on the picks stand still; None: never.
        patience: stop after so many epochs without a better accuracy, and go back to the best; None: run to the end.
        keep: the epoch that the network is left at.
        judged_from: the epoch from which on scores count, for a plateau and for the best: before it weights are pruned.
        before_step: called with the network, the optimizer and the number of steps done: where pruning takes place.
        after_step: called with these, the new step counted, and the step's learning rate: where proximal steps do.
        penalty: given the network, the images of the step and the number of steps done, what is added to the loss.
        teacher: is imitated in place of learning from labels; batch norm then keeps its statistics. None: labels teach.
    """

    task: str
    stage: str
    seed: tuple[int | str, ...]
    epochs: int
    batch_size: int
    eval_batch_size: int
    split: str
    lr: float
    schedule: Schedule
    score_lr: float = 0.0
    score_schedule: Schedule = STEADY
    freeze_picks_epoch: int | None = None
    patience: int | None = None
    keep: Keep = "last"
    judged_from: int = 0
    before_step: Callable[[Network, TaskOptimizer, int], None] | None = None
    after_step: Callable[[Network, TaskOptimizer, int, float], None] | None = None
    penalty: Penalty = no_penalty
    teacher: Teacher | None = None

    @property
    def keeps_best(self) -> bool:
        """Whether the network goes back to its best epoch in the end."""
        return self.keep == "best" or self.patience is not None

    def scores(self, epochs: Sequence[Epoch]) -> list[float]:
        """Of the epochs done, those that count."""
        return [epoch.accuracy for epoch in epochs[self.judged_from :]]

    def over(self, epochs: Sequence[Epoch]) -> bool:
        """Whether training ends after these epochs."""
        scores = self.scores(epochs)
        return len(epochs) >= self.epochs or _out_of_patience(scores, self.patience) or ended(self.schedule, scores)

    def kept(self, epochs: Sequence[Epoch]) -> Epoch:
        """The epoch that the network is left at: of equally good ones the first."""
        best = plateaus(self.scores(epochs), 1).best if self.keeps_best else None
        return epochs[-1] if best is None else epochs[self.judged_from + best]


def decide_accuracy(
    network: Network, data: TaskData, split: str, batch_size: int, ranks: Ranks = SINGLE_PROCESS
) -> float:
    """Accuracy on the split that decides (`TaskData.deciding`)."""
    return evaluation_of(network, data, split, batch_size, ranks)()


def evaluation_of(
    network: Network, data: TaskData, split: str, batch_size: int, ranks: Ranks = SINGLE_PROCESS
) -> Callable[[], float]:
    """`decide_accuracy`, to be asked again and again while the network is trained."""
    images = data.deciding(split)
    evaluate = Evaluator(network, ranks, pairs=images.pairs)
    return lambda: evaluate(eval_batches(images, data.mean, data.std, batch_size, network.device, ranks.share))


def train(
    network: Network,
    optimizer: TaskOptimizer,
    data: TaskData,
    plan: Plan,
    snapshots: Snapshots,
    reporter: Reporter,
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[tuple[Epoch, ...], float, Epoch]:
    """Run the plan's epochs, or what is left of them since the newest snapshot.

    Every rank runs this loop on its share of each batch, and each decision in it is one that all of them come to.

    Returns:
        The epochs, the seconds they took over all attempts, and the epoch that the network is left at.

    Raises:
        CpgError: the loss is not finite, or the ranks have come apart.
        Interrupted: the reporter asked to stop; a snapshot holds the place.
    """
    batches = batch_count(len(data.train), plan.batch_size, ranks.share.of)
    position, best = _resume(network, optimizer, snapshots, reporter)
    ranks.assert_identical(lambda: _gather(network, optimizer, best))
    step = TrainStep(network, optimizer, plan.penalty, ranks, full_batch=plan.batch_size, teacher=plan.teacher)
    evaluate = evaluation_of(network, data, plan.split, plan.eval_batch_size, ranks)
    began = time.monotonic() - position.seconds
    reporter.stage_begins(plan.task, plan.stage, plan.epochs)

    saved = time.monotonic()
    size = sum(tensor.nbytes for tensor in _gather(network, optimizer, best).values())

    def save(place: Position) -> None:
        ranks.assert_identical(lambda: _gather(network, optimizer, best))
        timed = place.model_copy(update={"seconds": time.monotonic() - began})
        snapshots.save(timed, lambda: _gather(network, optimizer, best))

    while not plan.over(position.epochs):
        epoch, scores = position.epoch, plan.scores(position.epochs)
        if epoch == plan.freeze_picks_epoch and position.batch == 0:
            optimizer.freeze_picks()
        _training_mode(network, plan)
        seed = derive(*plan.seed, plan.stage, epoch)
        step.start_sums(position.loss_sum, position.tally)
        seen, lr = position.seen, 0.0
        shares = train_batches(data, plan.batch_size, seed, network.device, position.batch, ranks.share)
        for batch, (images, labels) in enumerate(shares, position.batch):
            if ranks.stop(reporter.stop_requested()):
                save(position.model_copy(update=_sums(step, batch, seen, partial(_finite, plan=plan, epoch=epoch))))
                raise Interrupted
            steps_done = epoch * batches + batch
            if plan.before_step is not None:
                plan.before_step(network, optimizer, steps_done)
            at = epoch + batch / batches
            lr = plan.lr * factor(plan.schedule, at, plan.epochs, scores)
            score_lr = plan.score_lr * factor(plan.score_schedule, at, plan.epochs, scores)
            in_batch = min(plan.batch_size, len(data.train) - batch * plan.batch_size)
            step(images, labels, in_batch=in_batch, done=steps_done, lr=lr, score_lr=score_lr)
            if plan.after_step is not None:
                plan.after_step(network, optimizer, steps_done + 1, lr)
            seen += in_batch
            reporter.batch_done((batch + 1) / batches)
        loss_sum, tally = step.sums()
        done = Epoch(
            epoch=epoch,
            lr=lr,
            loss=_finite(loss_sum / seen, plan, epoch),
            train_accuracy=network.objective.score(tally),
            accuracy=evaluate(),
        )
        if plan.keeps_best and plan.kept((*position.epochs, done)) == done:
            best = {name: tensor.clone() for name, tensor in _gather(network, optimizer, {}).items()}
        position = Position(epoch=epoch + 1, epochs=(*position.epochs, done))
        if ranks.share.of > 1 or due(size, time.monotonic() - saved):  # the clocks of ranks differ
            save(position)
            saved = time.monotonic()
        reporter.epoch_done(plan.task, plan.stage, done)
    if best:
        _restore(network, optimizer, best)
    return position.epochs, time.monotonic() - began, plan.kept(position.epochs)


def _training_mode(network: Network, plan: Plan) -> None:
    network.train()
    if plan.teacher is not None:
        hold_statistics(network)


def _sums(step: TrainStep, batch: int, seen: int, finite: Callable[[float], float]) -> dict[str, object]:
    loss_sum, tally = step.sums()
    return {"batch": batch, "loss_sum": finite(loss_sum), "tally": tuple(tally), "seen": seen}


def _out_of_patience(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` epochs were no better than the best of those before them."""
    best = plateaus(scores, 1).best
    return patience is not None and best is not None and len(scores) - 1 - best >= patience


def _finite(loss: float, plan: Plan, epoch: int) -> float:
    if math.isfinite(loss):
        return loss
    raise diverged(plan, epoch + 1)


def diverged(plan: Plan, epoch: int) -> CpgError:
    """The error for a loss or a weight that is no finite number."""
    return CpgError(
        f"task {plan.task}, stage {plan.stage}, epoch {epoch}: the loss is not a finite number; "
        f"the learning rate {plan.lr:g} is probably too high (earlier tasks are untouched)"
    )


def _gather(network: Network, optimizer: TaskOptimizer, best: Layers) -> Layers:
    return flatten({"network": network.state_dict(), "optimizer": optimizer.tensors(), "best": best})


def _restore(network: Network, optimizer: TaskOptimizer, tensors: Layers) -> None:
    of_network, of_optimizer = unflatten(tensors, "network", "optimizer")
    network.load_state_dict(of_network)
    optimizer.load(of_optimizer)


def _resume(
    network: Network, optimizer: TaskOptimizer, snapshots: Snapshots, reporter: Reporter
) -> tuple[Position, Layers]:
    found = snapshots.newest(reporter.note)
    if found is None:
        return Position(), {}
    position, tensors = found
    _restore(network, optimizer, tensors)
    (best,) = unflatten(tensors, "best")
    return position, best
