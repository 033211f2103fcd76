"""Which groups of channels a network can do without, so that its outputs stay what they are."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.model.channels.flow import Flow


def unused(flow: Flow) -> Tensor:
    """The groups that can be left out, bool `[groups]`.

    A group can be left out if no layer that stays reads it with a weight other than zero, but where it is constant:
    zero, or a value whose share can be added to the bias of the layer that reads it.

    Of the channels of each layer at least one stays.
    """
    fixed = flow.fixed.clone()
    while True:
        left_out = _unused(flow, fixed)
        emptied = [layer for layer in flow.layers if bool(left_out[layer.outputs.groups].all())]
        if not emptied:
            return left_out
        for layer in emptied:
            fixed[layer.outputs.groups[0]] = True


def rounded(flow: Flow, left_out: Tensor, multiple: int) -> Tensor:
    """The same with some fewer, so that each layer keeps a multiple of channels, or all of them.

    What stays for that is read by no weight, or constant, so it does not matter what its own channels lack.

    Args:
        flow: of the network.
        left_out: bool `[groups]`, those that nothing needs.
        multiple: of channels.
    """
    fewer = left_out.clone()
    for layer in flow.layers:
        of_layer = torch.zeros_like(fewer)
        of_layer[layer.outputs.groups] = True
        gone = (of_layer & fewer).nonzero().squeeze(1)
        stays = int(of_layer.sum()) - len(gone)
        fewer[gone[: -stays % multiple]] = False
    return fewer


def _unused(flow: Flow, fixed: Tensor) -> Tensor:
    """The same, with some that must stay. What is left out grows until no more can be."""
    dense = [(layer, layer.uses, layer.foldable) for layer in reversed(flow.layers) if layer.dense]
    left_out = torch.zeros_like(fixed)
    while True:
        more = ~fixed
        for layer, uses, foldable in dense:
            needed = uses[~left_out[layer.outputs.groups]].any(dim=0) & ~foldable
            more[layer.inputs.groups[needed]] = False
        if torch.equal(more, left_out):
            return left_out
        left_out = more
