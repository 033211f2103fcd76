"""The control of learned picks: as many of them, drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.config.picks import AllPicks, Picks, RandomPicks
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.seeds import derive
from cpg_core.stages.context import TaskContext


def learned(picks: Picks) -> bool:
    """Whether picks are learned, rather than drawn or all taken."""
    return not isinstance(picks, RandomPicks | AllPicks)


def random_picks(context: TaskContext, older: Layers, config: RandomPicks) -> Layers:
    """Picks of a share of the older weights (bool) of each layer, always the same for one run, task and layer.

    Raises:
        CpgError: shares are named for other layers than the network has.
    """
    shares = config.share if isinstance(config.share, dict) else dict.fromkeys(older, config.share)
    if shares.keys() != older.keys():
        odd = sorted(shares.keys() ^ older.keys())
        raise CpgError(f"pick_train.picks.share: name every shared layer once; missing or unknown: {', '.join(odd)}")
    words = (*context.run.spec.seed_words, "random picks", context.name)
    return {name: drawn(mask, shares[name], derive(*words, name)) for name, mask in older.items()}


def drawn(older: Tensor, share: float, seed: int) -> Tensor:
    """Exactly the share, rounded, of the places where `older` (bool, any shape) is true; bool, the same shape."""
    places = older.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    picked = torch.zeros(older.numel(), dtype=torch.bool)
    picked[places[order[: round(share * len(places))]]] = True
    return picked.view(older.shape)
