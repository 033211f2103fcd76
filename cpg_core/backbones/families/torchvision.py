"""Any classification network of torchvision that ends in a linear layer, at its own width."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torchvision import models
from torchvision.ops import StochasticDepth

from cpg_core.backbones import Backbone, Input, linear_head
from cpg_core.backbones.parts.imagenet import torchvision_weights
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError, listed

SHARED_OR_PRIVATE = (nn.Conv2d, nn.Linear, _NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)
"""Modules whose parameters tasks can share or keep: weights of the first two are shared, all else is private."""

ONE_OUTPUT = {"googlenet": {"aux_logits": False, "init_weights": False}, "inception_v3": {"aux_logits": False}}
"""Networks that have further outputs in training, unless they are told not to."""

OTHERWISE_PUBLISHED = frozenset(
    ("densenet121", "densenet161", "densenet169", "densenet201", "googlenet", "inception_v3")
)
"""Networks that their published files do not fit: torchvision renames tensors of the DenseNets as it reads them; those
of the last two hold further outputs, and take images that are normalised otherwise than torchvision tells."""

SHOWN = 3


def names() -> list[str]:
    """The classification networks of torchvision, those that cannot be taken among them."""
    return list(models.list_models(module=models))


def find(name: str) -> Backbone:
    """The network of that name; its input is as its pretrained weights have it.

    Raises:
        CpgError: there is none.
    """
    if name not in names():
        raise unknown("network of torchvision", name, names())
    newest = models.get_model_weights(name).DEFAULT
    takes = Input(3, newest.transforms().crop_size[0], smallest=newest.meta["min_size"][0])
    weights = dict if name in OTHERWISE_PUBLISHED else partial(torchvision_weights, name)
    return Backbone(
        f"torchvision/{name}",
        takes,
        partial(build, name),
        growable=False,
        head=linear_head(_head_of(name)),
        weights=weights,
    )


def build(name: str, width: float) -> nn.Module:  # noqa: ARG001  (as every backbone)
    """The network without its last linear layer, and without what is random in training.

    Raises:
        CpgError: it has weights that are neither shared nor private, or does not end in a linear layer.
    """
    network = _made(name)
    if others := _other_weights(network):
        raise CpgError(
            f"backbone torchvision/{name} has weights outside of convolutions, linear layers and norms, which tasks "
            f"could not share: {listed(others, SHOWN)}; take another network"
        )
    network.out_features = _cut_head(network, name)  # type: ignore[assignment]
    for module in network.modules():
        if isinstance(module, _DropoutNd | StochasticDepth):
            module.p = 0.0
    return network


def _made(name: str) -> nn.Module:
    """The network on torch's default device, with no weight made where that is `meta`."""
    make = partial(models.get_model, name, weights=None, **ONE_OUTPUT.get(name, {}))
    try:
        return make()  # type: ignore[no-any-return]
    except NotImplementedError:  # RegNet computes its channel counts with tensors, which have no values on `meta`
        from accelerate import init_empty_weights

        with torch.device("cpu"), init_empty_weights():
            network = make()
        return network.to("meta")  # type: ignore[no-any-return]


def _other_weights(network: nn.Module) -> list[str]:
    return [
        f"{place}.{name}" if place else name
        for place, module in network.named_modules()
        if not isinstance(module, SHARED_OR_PRIVATE)
        for name, _ in module.named_parameters(recurse=False)
    ]


@cache
def _head_of(name: str) -> str:
    """The name of the network's last layer."""
    with torch.device("meta"):
        names: list[str] = [place for place, _ in _made(name).named_modules()]
    return names[-1]


def _cut_head(network: nn.Module, name: str) -> int:
    """Put the identity in place of the last layer, in place; how many features lead into it."""
    last, head = [*network.named_modules()][-1]
    if not isinstance(head, nn.Linear):
        raise CpgError(
            f"backbone torchvision/{name} does not end in a linear layer, so it has no features; take another"
        )
    network.set_submodule(last, nn.Identity())
    return head.in_features
