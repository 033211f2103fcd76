"""What a task computes: its logits as its trained network gives them, and as recalled from disk ever after."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cpg_core.data.batches import eval_batches
from cpg_core.data.split import Split
from cpg_core.model.network import Network, build
from cpg_core.model.state import Shared, TaskState, effective, install
from cpg_core.runner import execute, learn_sequence, learn_task
from cpg_core.stages.context import TaskContext, read_state, stage_folder
from cpg_core.stages.initial_state import fresh_network
from cpg_core.stages.next_stage import Request
from cpg_core.storage import delta as deltas
from cpg_core.storage.delta import Delta
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.evaluation import probe_images, reading
from cpg_core.training.reporter import Silent


def look(network: Network, run: Run, split: Split, mean: Tensor, std: Tensor) -> Tensor:
    """Logits of the probe and of real test images, one below the other."""
    probe = probe_images(run.input.channels, run.input.size).contiguous(memory_format=torch.channels_last)
    with reading(network.to(memory_format=torch.channels_last)):  # type: ignore[call-overload]
        batches = [probe, *(images for images, _ in eval_batches(split, mean, std, 64, "cpu"))]
        return torch.cat([network(images) for images in batches]).clone()


def recalled_network(run: Run, index: int, shared: Shared, delta: Delta) -> Network:
    record = run.record(index)
    network = build(record.backbone, record.width, len(record.classes))
    model = run.model(shared, record, delta)
    install(network, deltas.recalled(model, delta, index, in_place=run.in_place), delta.private)
    return network


def recalled(run: Run, index: int, shared: Shared | None = None, delta: Delta | None = None) -> Tensor:
    """Task `index` on the current model (or on another), all of it read from disk."""
    data = run.data(index)
    shared = shared or run.rebuild(run.frozen())
    network = recalled_network(run, index, shared, delta or run.delta(index))
    return look(network, run, data.test, data.mean, data.std)


def in_training(context: TaskContext, state: TaskState) -> Tensor:
    """The task as its trained network computes it, before anything is frozen."""
    network = fresh_network(context, state.budget_x)
    install(network, effective(context.shared(state.budget_x), state), state.private)
    return look(network, context.run, context.data.test, context.data.mean, context.data.std)


@dataclass
class Witness:
    """Learns a run, and keeps what every task computed when it was trained and after every later one."""

    trained: dict[int, Tensor] = field(default_factory=dict)
    later: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def learn(self, run: Run) -> Witness:
        learn_sequence(run, Silent(), self._task)
        return self

    def _task(self, context: TaskContext) -> None:
        learn_task(context, self._stage)
        on_disk = open_run(context.run.root, context.run.spec.name)
        for index in range(1, context.index + 1):
            self.later[index, context.index] = recalled(on_disk, index)

    def _stage(self, context: TaskContext, request: Request) -> StageRecord:
        if request.stage == "freeze":
            assert request.source is not None
            folder = stage_folder(context.run.task_work(context.index), request.source)
            self.trained[context.index] = in_training(context, read_state(folder, context.run.shapes(request.budget_x)))
        return execute(context, request)

    def forgotten(self) -> set[tuple[int, int]]:
        """The (task, later task) pairs after which a logit of the task is another than that of its training."""
        return {pair for pair, logits in self.later.items() if not torch.equal(logits, self.trained[pair[0]])}
