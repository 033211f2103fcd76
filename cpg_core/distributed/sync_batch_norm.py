"""Batch norm over the images of all ranks, so that what is learned does not depend on how many there are."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def sync_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let the batch norm of a network, in place, see the whole batch: torch's own on a GPU, else its twin below."""
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


class _Sum(torch.autograd.Function):
    """The sum over all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        summed = mine.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def _forward(layer: _BatchNorm, images: Tensor) -> Tensor:
    """As `nn.SyncBatchNorm.forward`, which torch has for GPUs alone; images `[N, C, ...]`."""
    if not layer.training:
        return type(layer).forward(layer, images)
    given, images = images.dtype, images.float()  # statistics are float32 in every precision, as torch's own are
    others = [place for place in range(images.dim()) if place != 1]
    shape = [-1 if place == 1 else 1 for place in range(images.dim())]
    count = _sum(torch.tensor(float(images.numel() // images.shape[1])))
    mean = _sum(images.sum(others)) / count
    centred = images - mean.view(shape)
    variance = _sum((centred * centred).sum(others)) / count
    with torch.no_grad():
        assert layer.num_batches_tracked is not None and layer.momentum is not None
        assert layer.running_mean is not None and layer.running_var is not None
        layer.num_batches_tracked.add_(1)
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * count / (count - 1), layer.momentum)
    scale = layer.weight * (variance + layer.eps).rsqrt()
    return (centred * scale.view(shape) + layer.bias.view(shape)).to(given)


def _sum(mine: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(mine)
    return summed
