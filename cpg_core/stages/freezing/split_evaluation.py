"""What a task's network reaches on a split, and what is found as its test split is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from cpg_core.data.batches import counted, eval_batches
from cpg_core.data.fields import Part
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData
from cpg_core.model.network import Network
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import Evaluator, Result

LABELLED_ACCURACY = "labelled_accuracy"
"""In the figures of a task whose labels are answers: by what its images show."""


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
