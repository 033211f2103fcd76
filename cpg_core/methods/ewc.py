"""Elastic weight consolidation: a quadratic penalty holds the weights that earlier tasks need.

The loss of a task gains strength/2 · sum_i sum_j F_ij (w_j - w_ij)^2 over the tasks i before it, where w_i are the
shared weights at the freeze of task i and F_i is the diagonal of the Fisher information there (eq. 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cpg_core.errors import CpgError
from cpg_core.machine import device_of
from cpg_core.methods import sequential
from cpg_core.model.layers import Layers
from cpg_core.model.network import shared_parameters
from cpg_core.model.state import TaskState
from cpg_core.seeds import derive
from cpg_core.stages.context import TaskContext
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.storage.differences import OTHER_IMAGES
from cpg_core.training.penalties.ewc import ewc_penalty, fisher
from cpg_core.training.reporter import reading_progress
from cpg_core.training.step import Penalty


def penalty(context: TaskContext, state: TaskState) -> Penalty:  # noqa: ARG001  (the penalty rests on frozen tasks)
    """The penalty that a task learns with."""
    return ewc_penalty(context.settings.ewc.strength, earlier_tasks(context))


def earlier_tasks(context: TaskContext) -> Iterator[tuple[Layers, Layers]]:
    """Weights and Fisher information of each earlier task, one after the other.

    Both come from the checkpoint and the images of the task, so nothing has to be kept for them.
    """
    run, assembly, images = context.run, context.assembly, context.settings.ewc.images
    device = device_of(context.settings.compute.device)
    shared = assembly.rebuild(0)
    for index in range(1, context.index):
        record, added = run.record(index), run.delta(index)
        shared = assembly.add(shared, record, added)
        network = network_of(assembly, shared, record, added).to(device)
        data = run.data(index, reading_progress(context.reporter, record.name))
        if data.digest != record.data_sha256:
            raise CpgError(
                f"task '{record.name}': {OTHER_IMAGES}; bring them back: ewc computes the Fisher information on them"
            )
        seed = derive(run.spec.seed, "fisher", record.name)
        information = fisher(network, data.train, data.mean, data.std, images, seed)
        yield {name: weight.detach() for name, weight in shared_parameters(network).items()}, information


METHOD = replace(
    sequential.METHOD,
    name="ewc",
    source="Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 2017",
    penalty=penalty,
    classes_only=True,
    steps_alike=False,
)
