"""Which groups of channels a network can do without, so that its outputs stay what they are."""

from __future__ import annotations

import torch
from torch import Tensor

from cpg_core.model.channels.flow import FIXED, Flow, Layer


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
            fixed[layer.outputs.groups[0]] = FIXED


def _unused(flow: Flow, fixed: Tensor) -> Tensor:
    """The same, with some that must stay. What is left out grows until no more can be."""
    dense = [(layer, layer.uses, _foldable(layer)) for layer in reversed(flow.layers) if layer.dense]
    left_out = torch.zeros_like(fixed)
    while True:
        more = ~fixed
        for layer, uses, foldable in dense:
            needed = uses[~left_out[layer.outputs.groups]].any(dim=0) & ~foldable
            more[layer.inputs.groups[needed]] = False
        if torch.equal(more, left_out):
            return left_out
        left_out = more


def _foldable(layer: Layer) -> Tensor:
    """Of which inputs the layer knows what they add, bool `[inputs]`."""
    constant = layer.inputs.constant
    return constant.isfinite() if layer.spreads_constants else constant == 0
