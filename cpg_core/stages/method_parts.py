"""Functions that methods are put together from. One that only a single method has stands in its file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cpg_core.config.settings import Settings
from cpg_core.stages.request import Request, Rules
from cpg_core.storage.records import StageName, StageRecord
from cpg_core.storage.run_spec import RunSpec


def released_weights(older: Tensor, index: int, grown_from: int) -> Tensor:  # noqa: ARG001  (as every such function)
    """All that no earlier task owns."""
    return ~older


def previous_task(spec: RunSpec, index: int) -> int | None:  # noqa: ARG001
    """The task before."""
    return index - 1


def fresh_where_random(index: int, released_init: str) -> bool:
    """Released weights begin as `released_init` says; those of task 1 are always fresh."""
    return index == 1 or released_init == "random"


def picks_nothing(index: int) -> bool:  # noqa: ARG001
    """Every weight of an earlier task is used."""
    return False


def freeze_next(done: Sequence[StageRecord], chosen: int, rules: Rules) -> Request | None:  # noqa: ARG001
    """Nothing comes between pruning and the freeze."""
    return None


def weights_of_one_network(size: int, released: int, index: int) -> tuple[int, int]:  # noqa: ARG001
    """All weights of the network count, and those that no task owns are released."""
    return size, released


def most_epochs(stage: StageName, settings: Settings) -> int:
    """How long a stage of `cpg` trains, at the most."""
    return {
        "pick_train": settings.pick_train.epochs,
        "prune": settings.prune.epochs,
        "recover": settings.prune.recover_epochs,
        "retrain": settings.retrain.epochs,
    }.get(stage, 0)


def every_weight(older: Tensor, index: int, grown_from: int) -> Tensor:  # noqa: ARG001
    """All weights of the layer, whoever trained them before."""
    return torch.ones_like(older)


def fresh_for_the_first(index: int, released_init: str) -> bool:  # noqa: ARG001
    """Task 1 begins from fresh weights, every later one from those of an earlier task."""
    return index == 1


def picks_after_the_first(index: int) -> bool:
    """Every task after the first learns which weights of earlier tasks it uses."""
    return index > 1
