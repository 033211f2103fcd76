"""Whether frozen tasks give, on the current shared weights, the bits of their freeze."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cpg_core.data.reading.reading import Progress
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, private_tensors, shared_parameters
from cpg_core.model.state import Shared, write
from cpg_core.objectives import ObjectiveSpec
from cpg_core.stages.freezing.recalled_network import network_of, probe_batch
from cpg_core.stages.freezing.split_evaluation import split_accuracy
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.files import digest
from cpg_core.storage.records import Recall, TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import probe_logits


def recheck(assembly: Assembly, shared: Shared, before: int, reading: Callable[[str], Progress]) -> list[Recall]:
    """How tasks 1 to `before` stand on the current shared weights.

    A task whose probe logits are the same bits as at its freeze keeps its test accuracy, and its images need not be
    there; one that has changed is evaluated again. Another processor, device or torch rounds otherwise than the one
    that wrote the digest of a record: where that differs, the logits are compared with those that the weights of the
    freeze give here. `reading` gives, by a task's name, who is told as its images are read.

    Raises:
        CpgError: a task has changed and its images cannot be read, or a file of it is damaged.
    """
    run = assembly.run
    found, probe = [], probe_batch(run)
    history = enumerate(assembly.history(before))  # nothing is read of it unless a digest differs
    known: dict[tuple[float, int, ObjectiveSpec], tuple[Network, Mapping[str, Tensor], Layers]] = {}
    for index in range(1, before + 1):
        record, delta = assembly.recallable(index)
        kind = record.width, len(record.classes), record.objective
        if kind not in known:
            made = network_of(assembly, shared, record, delta)
            known[kind] = made, shared_parameters(made), private_tensors(made)
        network, weights, private = known[kind]
        current = assembly.weights(shared, record, delta)
        write(weights, current)
        write(private, delta.private)
        logits = digest(probe_logits(network, probe))
        unchanged = logits == record.probe_sha256
        if not unchanged:
            at_freeze = next(left for task, left in history if task == index)
            write(weights, assembly.weights(at_freeze, record, delta))
            unchanged = logits == digest(probe_logits(network, probe))
            write(weights, current)
        test = record.test_accuracy if unchanged else _evaluated_again(run, network, record, reading(record.name))
        found.append(Recall(task=record.name, unchanged=unchanged, test_accuracy=test))
    return found


def _evaluated_again(run: Run, network: Network, record: TaskRecord, progress: Progress) -> float:
    """The test accuracy of a task that has changed.

    Raises:
        CpgError: its images cannot be read.
    """
    try:
        split = run.test_split(record.index, progress)
    except CpgError as error:
        raise CpgError(
            f"task '{record.name}' is no longer as at its freeze and must be tested again; bring its test images back "
            f"and give the same command again: {error}"
        ) from error
    return split_accuracy(run, network, split, torch.tensor(record.mean), torch.tensor(record.std), progress)


def recall_content(earlier: list[Recall], drawn: dict[str, Any]) -> dict[str, object]:
    """For `recall.json`: how earlier tasks stand, and what pictures of the task itself are drawn from."""
    return {"earlier": [recall.model_dump(mode="json") for recall in earlier], **drawn}
