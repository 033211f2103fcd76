"""Frozen tasks on the current shared weights: their networks, and whether they give the bits of their freeze."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from cpg_core import objectives
from cpg_core.data.batches import counted, eval_batches
from cpg_core.data.fields import Part
from cpg_core.data.reading import Progress, silent
from cpg_core.data.split import Split
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.machine import device_at_hand
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, private_tensors, shared_parameters, width
from cpg_core.model.state import Shared, loaded_network, write
from cpg_core.objectives import Objective, ObjectiveSpec
from cpg_core.storage import delta as deltas
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import digest
from cpg_core.storage.records import Recall, TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import Evaluator, Result, probe_images, probe_logits


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
    return probe_logits(network, _probe_batch(run))


def _probe_batch(run: Run) -> Tensor:
    """The probe batch of the run's backbone, on its device."""
    device = device_at_hand(run.spec.settings.compute.device)
    return probe_images(run.input.channels, run.input.size).to(device, memory_format=torch.channels_last)


def split_accuracy(
    run: Run, network: Network, split: Split, mean: Tensor, std: Tensor, progress: Progress = silent
) -> float:
    """Accuracy on a split, normalised by a task's mean and standard deviation."""
    return Evaluator(network, pairs=split.pairs)(_batches(run, network, split, mean, std, progress))


def split_result(
    run: Run, network: Network, split: Split, mean: Tensor, std: Tensor, progress: Progress = silent
) -> Result:
    """All that is found on a split, normalised by a task's mean and standard deviation.

    Of a task that has classes to tell apart, how often each is taken for each other one is among it.
    """
    by_class = network.objective.by_class
    evaluator = (
        Evaluator(network, pairs=split.pairs)
        if by_class is None
        else Evaluator(network, static=False, measure=by_class(cast(int, network.head.out_features)))
    )
    return evaluator.result(_batches(run, network, split, mean, std, progress))


LABELLED_ACCURACY = "labelled_accuracy"
"""In the figures of a task whose labels are answers: by what its images show."""


class Tested(NamedTuple):
    """What a task's network found on its test split.

    Attributes:
        score: of its objective.
        figures: of its record: what else its objective finds there, and what it chooses on the validation split, or
            where there is none on the test split.
        drawn: of `recall.json`: what pictures are drawn from, such as how often each class is taken for each other.
    """

    score: float
    figures: dict[str, float]
    drawn: dict[str, Any]


def tested(run: Run, network: Network, data: TaskData, progress: Progress = silent) -> Tested:
    """Look at the test split, once."""
    test = split_result(run, network, data.test, data.mean, data.std, progress)
    if not network.objective.compares_pairs:
        return Tested(test.score, {**test.figures, **_labelled_accuracy(run, network, data)}, test.drawn)
    held_out = data.val if len(data.val) else data.test
    chosen = split_result(run, network, held_out, data.mean, data.std).chosen
    return Tested(test.score, {**test.figures, **chosen}, test.drawn)


def _labelled_accuracy(run: Run, network: Network, data: TaskData) -> dict[str, float]:
    """Of images that are labelled by answers, how many of all parts are told right; nothing where that is not known.

    Those that it was pruned on are among them: it saw them without their labels.
    """
    right, count = 0.0, 0
    parts: dict[Part, Split] = {"train": data.train, "val": data.val, "test": data.test}
    for name, split in parts.items():
        known = data.spec.source.true_labels(name)
        if known is None:
            return {}
        labelled = replace(split, labels=torch.from_numpy(known)).take(np.flatnonzero(known >= 0))
        if len(labelled):
            right += len(labelled) * split_accuracy(run, network, labelled, data.mean, data.std)
            count += len(labelled)
    return {LABELLED_ACCURACY: right / count} if count else {}


def _batches(
    run: Run, network: Network, split: Split, mean: Tensor, std: Tensor, progress: Progress
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = eval_batches(split, mean, std, run.spec.settings.eval_batch_size, network.device)
    return counted(batches, len(split), progress)


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
    found, probe = [], _probe_batch(run)
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
