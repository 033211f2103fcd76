"""Where the weights of each task lie, and what each task uses of every earlier one: read from a run's checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.methods import assembly_of, find
from cpg_core.model.layers import leading_block
from cpg_core.model.ownership import RELEASED
from cpg_core.storage import delta
from cpg_core.storage.run import Run


def shares(run: Run) -> bool:
    """Whether tasks own weights side by side in one network: neither a network each, nor all in each other's place."""
    assembly = assembly_of(run)
    return not (assembly.independent or assembly.overwrites)


def owned(run: Run) -> dict[str, list[int]]:
    """How many weights of each shared layer are released (first) and each task's (from task 1 on); none if unshared.

    Where a method has weights that no task can own, they do not count as released.

    Raises:
        Damaged: naming the file that is damaged or missing.
    """
    if not shares(run):
        return {}
    tasks, count = run.frozen(), find(run.spec.method).count
    counts = {name: _counts(owner, tasks).tolist() for name, owner in assembly_of(run).shared().owner.items()}
    return {name: [count(sum(found), found[0], tasks)[1], *found[1:]] for name, found in counts.items()}


def picked(run: Run, index: int) -> list[float]:
    """The share of each earlier task's weights that task `index` computes with (section 3, M); none if unshared.

    A task that owns nothing has nothing to pick: its share is 0.

    Raises:
        Damaged: naming the file that is damaged or missing.
    """
    if not shares(run):
        return []
    added, owners = run.delta(index), assembly_of(run).shared().owner
    using = delta.used(owners, added, index, overwrites=False)
    there, taken = torch.zeros(index), torch.zeros(index)
    for name, mask in using.items():
        owner = leading_block(owners[name], added.shapes[name])
        there += _counts(owner, index)[:index]
        taken += _counts(owner[mask], index)[:index]
    return (taken / there.clamp(min=1))[RELEASED + 1 :].tolist()


def _counts(owner: Tensor, tasks: int) -> Tensor:
    return torch.bincount(owner.flatten().int(), minlength=tasks + 1)
