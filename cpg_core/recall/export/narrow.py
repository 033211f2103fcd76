"""A network without some of its channels."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cpg_core.model.channels.flow import Channels, Layer
from cpg_core.model.channels.follow import followed
from cpg_core.recall.export.unused import rounded, unused

M = TypeVar("M", bound=nn.Module)

OF_CHANNELS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a norm or PReLU that hold a number a channel."""


def without_unused(network: M, shape: tuple[int, ...], multiple: int = 1) -> M:
    """A network in evaluation mode without the channels that its outputs do not depend on; itself where there are none.

    Args:
        network: takes images; stays as it is.
        shape: of an image, `(C, H, W)`.
        multiple: of channels that each layer keeps, if not all.
    """
    flow = followed(network, shape)
    if flow is None or not bool((left_out := rounded(flow, unused(flow), multiple)).any()):
        return network
    return narrowed(network, flow.layers, left_out)


def narrowed(network: M, layers: tuple[Layer, ...], left_out: Tensor) -> M:
    """A copy of a network without groups of channels; what constant ones add goes into the biases of their readers.

    Args:
        network: stays as it is.
        layers: of this network, as `followed` gives them.
        left_out: bool `[groups]`.
    """
    copy = deepcopy(network)
    with torch.no_grad():
        for layer in layers:
            module = copy.get_submodule(layer.name)
            stays = _staying(layer.inputs, left_out), _staying(layer.outputs, left_out)
            if layer.dense:
                _narrow_dense(module, layer, *stays)
            else:
                _narrow_single(module, stays[1])
    return copy


def _staying(channels: Channels, left_out: Tensor) -> Tensor:
    return (~left_out[channels.groups]).nonzero().squeeze(1)


def _narrow_dense(module: nn.Module, layer: Layer, inputs: Tensor, outputs: Tensor) -> None:
    """A convolution or linear layer, in place."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    bias: Tensor | None = module.bias
    added = _added(layer, inputs)
    if bool((added != 0).any()):
        bias = added if bias is None else bias + added
    module.weight = nn.Parameter(module.weight[outputs][:, inputs], requires_grad=False)
    module.bias = None if bias is None else nn.Parameter(bias[outputs], requires_grad=False)
    if isinstance(module, nn.Conv2d):
        module.in_channels, module.out_channels = len(inputs), len(outputs)
    else:
        module.in_features, module.out_features = len(inputs), len(outputs)


def _added(layer: Layer, inputs: Tensor) -> Tensor:
    """What the constant inputs that do not stay add to each output, float32 `[outputs]`."""
    constant = layer.inputs.constant
    constant = torch.where(constant.isfinite(), constant, 0.0)
    constant[inputs] = 0.0
    return (layer.strength.double() @ constant.double()).float()


def _narrow_single(module: nn.Module, channels: Tensor) -> None:
    """A norm, a PReLU or a depthwise convolution, in place."""
    for name in OF_CHANNELS:
        tensor = getattr(module, name, None)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(tensor[channels], requires_grad=False))
        elif isinstance(tensor, Tensor):
            setattr(module, name, tensor[channels])
    if isinstance(module, nn.Conv2d):
        module.in_channels = module.out_channels = module.groups = len(channels)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(channels)
    elif isinstance(module, _BatchNorm):
        module.num_features = len(channels)
