"""The control of learned picks: as many of them, drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.config.picks import RandomPicks
from cpg_core.model.channels.units import Units
from cpg_core.model.layers import Layers
from cpg_core.model.state import TaskState
from cpg_core.seeds import derive
from cpg_core.stages.channels import units_of
from cpg_core.stages.context import TaskContext
from cpg_core.training.channel_picks import picked_units


def random_picks(context: TaskContext, state: TaskState, config: RandomPicks) -> Layers:
    """Picks of a share of the older weights of each layer, always the same for one run, task and layer.

    Args:
        context: the task.
        state: it picks every older weight.
        config: the share; where layers have shares of their own, `require_fit` saw that these are the network's.

    Returns:
        Picks, bool; of whole channels where these are picked.
    """
    units = units_of(context, state.budget_x)
    words = (*context.run.spec.seed_words, "random picks", context.name)
    older = state.pick
    if units is not None:
        assert not isinstance(config.share, dict)
        return _random_channels(units, older, config.share, derive(*words, "channels"))
    shares = config.share if isinstance(config.share, dict) else dict.fromkeys(older, config.share)
    return {name: drawn(mask, shares[name], derive(*words, name)) for name, mask in older.items()}


def _random_channels(units: Units, older: Layers, share: float, seed: int) -> Layers:
    """All older weights of a share of the units of each pool; at least of one."""
    having, picked = units.having(older), torch.zeros(len(units), dtype=torch.bool)
    for pool in sorted(set(units.pool[having].tolist())):
        picked |= drawn(having & (units.pool == pool), share, derive(seed, pool))
    score = -torch.arange(len(units), dtype=torch.float32)  # where none is drawn, the first
    picked = picked_units(picked, score, having, torch.zeros_like(having), units)
    return {name: mask & units.weights(name, picked, mask.dim()) for name, mask in older.items()}


def drawn(older: Tensor, share: float, seed: int) -> Tensor:
    """Exactly the share, rounded, of the places where `older` (bool, any shape) is true; bool, the same shape."""
    places = older.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    picked = torch.zeros(older.numel(), dtype=torch.bool)
    picked[places[order[: round(share * len(places))]]] = True
    return picked.view(older.shape)
