"""Run an old task on the current model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cpg_core.data.reading.reading import Progress, silent
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.splits.identities import read_pairs_split
from cpg_core.data.splits.pairs import list_pairs, pairs_in
from cpg_core.data.task import load_eval_split
from cpg_core.machine import deterministic, device_at_hand
from cpg_core.methods import assembly_of
from cpg_core.model.network import Network
from cpg_core.objectives.measures.confusion import from_rows
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.stages.freezing.split_evaluation import split_result
from cpg_core.storage.files import Damaged
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run


class Evaluated(NamedTuple):
    """What a task reaches on a split.

    Attributes:
        score: of its objective, in [0, 1].
        classes: its classes, in order.
        confusion: how often each was taken for each other one, int64 `[classes, classes]`, a row a class that images
            are of; None where there are none to tell apart.
    """

    score: float
    classes: tuple[str, ...]
    confusion: Tensor | None


def device_note(run: Run) -> str | None:
    """What to tell a person of a run that is not read on the device that it was learned with; None: nothing."""
    asked = run.spec.settings.compute.device
    if asked != "cuda" or device_at_hand(asked).type == "cuda":
        return None
    return f"run {run.spec.name} was learned with compute.device=cuda; there is no GPU here: read on the CPU"


def recalled(run: Run, task: str) -> tuple[TaskRecord, Network]:
    """The record of a frozen task and its network on the current model, on the device at hand.

    If a later task's checkpoint is damaged, the model up to the task is used: it recalls the same bits.

    Raises:
        CpgError: there is no such task, or it or one before it is damaged.
    """
    frozen = {spec.name: index for index, spec in enumerate(run.spec.tasks, 1) if run.is_frozen(index)}
    if task not in frozen:
        raise run.unknown_task(task, list(frozen))
    index = frozen[task]
    record, assembly = run.record(index), assembly_of(run)
    try:
        shared = assembly.shared()
    except Damaged:
        if assembly.overwrites:
            raise
        shared = assembly.rebuild(index)
    return record, network_of(assembly, shared, record, run.delta(index, record))


def evaluate(run: Run, task: str, folder: Path | None = None, progress: Progress = silent) -> float:
    """The score of a frozen task on the current model; arguments and errors as of `evaluated`."""
    return evaluated(run, task, folder, progress).score


def evaluated(run: Run, task: str, folder: Path | None = None, progress: Progress = silent) -> Evaluated:
    """A frozen task on the current model, on its test split or on `folder/CLASS/*`.

    Of a task that is tested on pairs: on those of `folder/pairs.txt` or `folder/pairs.csv`, with images beside it.

    `progress` is told as images are read, and once more as they are evaluated.

    Raises:
        CpgError: as `recalled`.
    """
    record, network = recalled(run, task)
    split = None
    if folder is not None:
        spec, wanted = run.spec.tasks[record.index - 1], run.wanted(record.index, progress)
        if spec.pairs is None:
            below = isinstance(spec.source, FolderSource) and spec.source.subfolders
            split = load_eval_split(folder, record.classes, wanted, subfolders=below)
        else:
            split = read_pairs_split(list_pairs(pairs_in(folder)), wanted)
    with deterministic(record.machine.threads):
        split = run.test_split(record.index, progress) if split is None else split
        mean, std = torch.tensor(record.mean), torch.tensor(record.std)
        found = split_result(run, network, split, mean, std, progress)
    rows = found.drawn.get("confusion")
    return Evaluated(found.score, record.classes, None if rows is None else from_rows(rows))
