"""Who does which stage of which method; `freeze` looks back and forth, and is done by the leader."""

from __future__ import annotations

from cpg_core.methods import Method, den
from cpg_core.stages import learning
from cpg_core.stages.context import Work
from cpg_core.storage.records import StageName

WORK: dict[StageName, Work] = {
    "pick_train": learning.pick_train,
    "check": learning.check,
    "grow": learning.grow,
    "prune": learning.prune,
    "retrain": learning.retrain,
}
DEN: dict[StageName, Work] = {**WORK, "pick_train": den.pick_train, "grow": den.grow, "split": den.split}


def work_of(method: Method, stage: StageName) -> Work:
    """What does a stage of a method."""
    return (DEN if method.splits else WORK)[stage]
