"""Run an old task on the current model, and check that it still gives the bits that it gave at its freeze."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cpg_core.config.suggestions import unknown
from cpg_core.data.batches import eval_batches
from cpg_core.data.split import Split
from cpg_core.data.task import load_eval_split
from cpg_core.machine import device_of, exactly
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, empty, private_tensors, shared_parameters
from cpg_core.model.state import Shared, install, write
from cpg_core.storage import delta as deltas
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import Damaged, digest
from cpg_core.storage.records import Recall, TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import accuracy, probe_images, probe_logits


def network_of(run: Run, shared: Shared, record: TaskRecord, delta: Delta) -> Network:
    """The task's network, of its own width, on the current shared weights; ready to evaluate."""
    network, compute = empty(record.backbone, record.width, len(record.classes)), run.spec.settings.compute
    install(network, _weights(run, shared, record, delta), delta.private)
    return network.place(device_of(compute.device), compute.precision).eval()


def probe_of(run: Run) -> Tensor:
    """The probe batch of the run's backbone, on its device."""
    device = device_of(run.spec.settings.compute.device)
    return probe_images(run.input.channels, run.input.size).to(device, memory_format=torch.channels_last)


def test_accuracy(run: Run, network: Network, record: TaskRecord, split: Split | None = None) -> float:
    """Accuracy of a recalled task on its test split, or on another split of the same classes."""
    device = next(network.parameters()).device
    if split is None:
        split = run.data(record.index).test
    mean, std = torch.tensor(record.mean), torch.tensor(record.std)
    return accuracy(network, eval_batches(split, mean, std, run.spec.settings.eval_batch_size, device))


def evaluate(run: Run, task: str, folder: Path | None = None) -> float:
    """Accuracy of a frozen task on the current model, on its test split or on `folder/CLASS/*`.

    If a later task's checkpoint is damaged, the model up to the task is used: it recalls the same bits.

    Raises:
        CpgError: there is no such task, or it or one before it is damaged.
    """
    frozen = {spec.name: index for index, spec in enumerate(run.spec.tasks, 1) if run.is_frozen(index)}
    if task not in frozen:
        raise unknown("task", task, frozen)
    index = frozen[task]
    record = run.record(index)
    split = None
    if folder is not None:
        split = load_eval_split(folder, record.classes, image_size=run.input.size, channels=run.input.channels)
    with exactly(record.machine.threads):
        try:
            shared = run.shared()
        except Damaged:
            if run.in_place:
                raise
            shared = run.rebuild(index)
        return test_accuracy(run, network_of(run, shared, record, run.delta(index, record)), record, split)


def recheck(run: Run, shared: Shared, before: int) -> list[Recall]:
    """How tasks 1 to `before` stand on the current shared weights.

    A task whose probe logits are the same bits as at its freeze keeps its test accuracy; one that has changed is
    evaluated again.
    """
    found, probe = [], probe_of(run)
    known: dict[tuple[float, int], tuple[Network, Mapping[str, Tensor], Layers]] = {}
    for index in range(1, before + 1):
        record, delta = run.recallable(index)
        kind = record.width, len(record.classes)
        if kind not in known:
            made = network_of(run, shared, record, delta)
            known[kind] = made, shared_parameters(made), private_tensors(made)
        network, weights, private = known[kind]
        write(weights, _weights(run, shared, record, delta))
        write(private, delta.private)
        unchanged = digest(probe_logits(network, probe)) == record.probe_sha256
        test = record.test_accuracy if unchanged else test_accuracy(run, network, record)
        found.append(Recall(task=record.name, unchanged=unchanged, test_accuracy=test))
    return found


def _weights(run: Run, shared: Shared, record: TaskRecord, delta: Delta) -> Layers:
    model = run.model(shared, record, delta)
    return deltas.recalled(model, delta, record.index, in_place=run.in_place)
