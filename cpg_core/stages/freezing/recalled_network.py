"""The network of a frozen task on the current shared weights, and its logits on the probe batch."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core import objectives
from cpg_core.machine import device_at_hand
from cpg_core.model.network import Network, width
from cpg_core.model.state import Shared, loaded_network
from cpg_core.objectives import Objective
from cpg_core.storage import delta as deltas
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.delta import Delta
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import probe_images, probe_logits


def network_of(assembly: Assembly, shared: Shared, record: TaskRecord, delta: Delta) -> Network:
    """The network of a frozen task, of its own width, on the current shared weights and the device at hand."""
    base = assembly.base(shared, record, delta)
    classes, objective = len(record.classes), objectives.of(record.objective)
    return recalled_network(assembly, base, delta, record.index, record.budget_x, classes, objective)


def recalled_network(
    assembly: Assembly, base: Shared, delta: Delta, index: int, budget_x: float, classes: int, objective: Objective
) -> Network:
    """The same of task `index`, from the weights that it is recalled from: put together from its delta alone."""
    spec = assembly.run.spec
    weights = deltas.recalled(base, delta, index, overwrites=assembly.overwrites)
    at, compute = width(spec.settings.base_width, budget_x), spec.settings.compute
    device = device_at_hand(compute.device)
    return loaded_network(
        spec.backbone, at, classes, objective, weights, delta.private, device, compute.precision
    ).eval()


def probe_of(run: Run, network: Network) -> Tensor:
    """Logits of a network of the run on the probe batch, float32 `[8, classes]` on the CPU."""
    return probe_logits(network, probe_batch(run))


def probe_batch(run: Run) -> Tensor:
    """The probe batch of the run's backbone, on its device."""
    device = device_at_hand(run.spec.settings.compute.device)
    return probe_images(run.input.channels, run.input.size).to(device, memory_format=torch.channels_last)
