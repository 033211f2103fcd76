"""One training step: forward, loss, backward, update, and the running sums of the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from cpg_core.model.network import Network
from cpg_core.training.captured import Captured
from cpg_core.training.imitation import Teacher
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks

Penalty = Callable[[Network, Tensor, int], Tensor]
"""(network, images of the step, steps done) -> what is added to the loss, no dimensions."""


def no_penalty(network: Network, images: Tensor, step: int) -> Tensor:  # noqa: ARG001  (as every penalty)
    """Nothing."""
    return images.new_zeros(())


class TrainStep:
    """Trains a network by one batch at a call. The sums stay on the device until they are asked for.

    A step reads and writes nothing but static tensors, so on a GPU a full batch is recorded and replayed; any other
    batch, such as the last of an epoch, is run as it is. What prunes or freezes picks changes those same tensors in
    place; a change of what the optimizer does is recorded anew.

    Args:
        network: in training mode while steps are taken.
        optimizer: of this network.
        penalty: what is added to the loss.
        ranks: the processes that share each batch.
        full_batch: images of the batches that are recorded.
        static: work on tensors that stay, as a recording needs; None: on a GPU, where a penalty, a teacher or other
            ranks do not hinder it.
        teacher: is imitated, in place of learning from labels.
    """

    def __init__(
        self,
        network: Network,
        optimizer: TaskOptimizer,
        penalty: Penalty = no_penalty,
        ranks: Ranks = SINGLE_PROCESS,
        *,
        full_batch: int = 0,
        static: bool | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self._teacher = teacher
        self._network, self._optimizer, self._penalty, self._ranks = network, optimizer, penalty, ranks
        self._forward = ranks.wrap_ddp(network)
        self._device = network.device
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        self._tally = torch.zeros(network.objective.tally_size, dtype=torch.int64, device=self._device)
        self._done = torch.zeros((), device=self._device)
        alone = penalty is no_penalty and teacher is None and ranks is SINGLE_PROCESS
        recordable = self._device.type == "cuda" and alone
        self._full_batch = full_batch if (recordable if static is None else static) else 0
        # Ranks average gradients once all are there. On a GPU a step is recorded as it was measured there.
        self._layer_by_layer = ranks is SINGLE_PROCESS and self._device.type == "cpu"
        self._batch: tuple[Tensor, Tensor] | None = None
        self._recorded: tuple[bool, Captured] | None = None

    def start_sums(self, loss_sum: float, tally: Sequence[int]) -> None:
        """Count from here on: from 0 at the start of an epoch, where `tally` is empty."""
        self._loss_sum.fill_(loss_sum)
        self._tally.copy_(torch.tensor(tally or [0] * len(self._tally)))

    def sums(self) -> tuple[float, list[int]]:
        """The sum of the images' losses, and the summed tally of the objective; waits for the device."""
        return float(self._loss_sum), self._tally.tolist()

    def __call__(
        self, images: Tensor, labels: Tensor, *, in_batch: int, done: int, lr: float, score_lr: float = 0.0
    ) -> None:
        """Take one step.

        Args:
            images: this rank's share of the batch, `[N, C, H, W]`.
            labels: its labels, `[N]`.
            in_batch: images in the whole batch, over all ranks.
            done: steps of the stage done before this one.
            lr: rate of the weights.
            score_lr: rate of the pick scores.
        """
        self._optimizer.set_rates(lr, score_lr)
        self._done.fill_(done)
        with self._network.computing():
            if len(labels) == self._full_batch:
                self._replay(images, labels)
            else:
                self._run(images, labels, in_batch, done)

    def _replay(self, images: Tensor, labels: Tensor) -> None:
        if self._batch is None:
            self._batch = torch.empty_like(images), torch.empty_like(labels)
        for static, now in zip(self._batch, (images, labels), strict=True):
            static.copy_(now)
        if self._recorded is None or self._recorded[0] != self._optimizer.learns_picks:
            run = partial(self._run, *self._batch, self._full_batch, 0)
            self._recorded = self._optimizer.learns_picks, Captured(run, self._device)
        self._recorded[1]()

    def _run(self, images: Tensor, labels: Tensor, in_batch: int, done: int) -> None:
        objective = self._network.objective
        outputs = self._forward(images)
        if self._teacher is None:
            loss = objective.loss(outputs, labels, self._done)
        else:
            loss = self._teacher.loss(outputs, images)
        penalty = self._penalty(self._network, images, done)
        total = self._ranks.scale_loss(loss + penalty, len(labels), in_batch)
        if self._layer_by_layer:
            self._optimizer.backward(total)
        else:
            torch.autograd.backward(total)
        self._optimizer.update()
        loss_of_batch, tally_of_batch = self._ranks.all_reduce(
            loss.detach() * len(labels), objective.tally(outputs.detach(), labels)
        )
        self._loss_sum += loss_of_batch
        self._tally += tally_of_batch
