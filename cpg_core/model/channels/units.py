"""Channels of a backbone as units: output channels that can only be left out together, whatever layer they are of."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.model.channels.flow import Flow
from cpg_core.model.channels.follow import followed
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, private_tensors, shared_layers
from cpg_core.seeds import seeded

OF_A_DEAD_CHANNEL = {"bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
"""What private tensors of a channel hold that no weight leads to, so that it is 0 for every image."""


@dataclass(frozen=True, eq=False)
class Products:
    """The multiply-adds of a layer: `each` for every living input (`[inputs]`; None: one) and output (`[outputs]`)."""

    inputs: Tensor | None
    outputs: Tensor
    each: int


@dataclass(frozen=True, eq=False)
class Units:
    """Which output channels of the shared layers are one unit.

    Attributes:
        outputs: by shared layer the unit of each output channel, int64 `[outputs]`.
        private: by private tensor (`backbone.1.bias`) the unit of each entry, int64, of those in `OF_A_DEAD_CHANNEL`.
        pool: int64 `[units]`; layers with a unit in common are pruned together, as one pool of units.
        removable: bool `[units]`; others are used by an operation that may do anything with them, and stay.
        products: what each layer computes for an image.
        affine: by private tensor the unit of each entry, int64, of biases and of batch norm's weights: what scales and
            shifts a channel.
    """

    outputs: Layers
    private: Layers
    pool: Tensor
    removable: Tensor
    products: tuple[Products, ...]
    affine: Layers = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pool)

    def to(self, device: torch.device) -> Units:
        """The same on a device."""

        return Units(
            {name: units.to(device) for name, units in self.outputs.items()},
            {name: units.to(device) for name, units in self.private.items()},
            self.pool.to(device),
            self.removable.to(device),
            self.products,
            {name: units.to(device) for name, units in self.affine.items()},
        )

    def total(self, of_outputs: Layers) -> Tensor:
        """The sum over each unit's output channels, `[units]`, of numbers `[outputs]` by shared layer."""
        some = next(iter(of_outputs.values()))
        found = torch.zeros(len(self), dtype=some.dtype, device=some.device)
        for name, units in self.outputs.items():
            found.index_add_(0, units, of_outputs[name])
        return found

    def having(self, masks: Layers) -> Tensor:
        """Which units have any of the weights in `masks` (bool, in the shapes of the layers): bool `[units]`."""
        return self.total({name: mask.flatten(1).any(dim=1).long() for name, mask in masks.items()}) > 0

    def weights(self, name: str, chosen: Tensor, dimensions: int) -> Tensor:
        """Which output channels of a layer are `chosen` (bool `[units]`), to be broadcast over its weight."""
        return chosen[self.outputs[name]].view(-1, *[1] * (dimensions - 1))

    def reset_dead(self, network: Network, living: Tensor) -> None:
        """Set bias and running statistics of units that do not live (bool `[units]`), in place: they are 0 then."""
        tensors, dead = private_tensors(network), self.removable & ~living
        for name, units in self.private.items():
            tensors[name].masked_fill_(dead[units], OF_A_DEAD_CHANNEL[name.rpartition(".")[2]])

    def channels(self, living: Tensor) -> int:
        """Output channels of all shared layers without the units that do not live (bool `[units]`)."""
        lives = living | ~self.removable
        return sum(int(lives[units].sum()) for units in self.outputs.values())

    def multiply_adds(self, living: Tensor) -> int:
        """For one image, of the layers without the units that do not live (bool `[units]`)."""
        lives = living | ~self.removable

        def count(units: Tensor | None) -> int:
            return 1 if units is None else int(lives[units].sum())

        return sum(products.each * count(products.inputs) * count(products.outputs) for products in self.products)


@lru_cache(maxsize=4)
def channel_units(backbone: BackboneSpec, width: float, outputs: int) -> Units:
    """The units of a backbone with a head of so many outputs, for images of its size.

    Raises:
        CpgError: what the backbone computes depends on the image in other ways than by layers, so none can be told.
    """
    with seeded("channels"):
        body = backbones.build(backbone, width)
        head = nn.Linear(int(body.out_features), outputs)  # type: ignore[arg-type]
    whole = nn.Sequential(OrderedDict(backbone=body, head=head)).eval()
    takes = backbones.input_of(backbone)
    shape = takes.channels, takes.size, takes.size
    flow = followed(whole, shape)
    if flow is None:
        raise CpgError(
            f"backbone {backbone}: its channels cannot be followed from layer to layer, as prune.unit: channel needs; "
            "set prune.unit: weight"
        )
    return _units(whole, flow, _places(whole, shape))


def _units(whole: nn.Sequential, flow: Flow, places: dict[str, int]) -> Units:
    """The groups of a flow as units; a layer that it does not know has units of its own, which stay."""
    known = {layer.name: layer for layer in flow.layers}
    body = whole.get_submodule("backbone")
    outputs, removable, products = {}, [~flow.fixed], []
    count = len(flow.fixed)
    layers = {f"backbone.{name}": module for name, module in shared_layers(body).items()}
    layers["head"] = whole.get_submodule("head")
    for name, module in layers.items():
        weight = module.weight
        assert isinstance(weight, Tensor)
        if name in known:
            layer = known[name]
            of, inputs = layer.outputs.groups, layer.inputs.groups if layer.dense else None
            each = weight[0, 0].numel() * places[name]
        else:
            of, inputs = torch.arange(count, count + len(weight)), None
            removable.append(torch.zeros(len(weight), dtype=torch.bool))
            count += len(weight)
            each = weight[0].numel() * places[name]
        products.append(Products(inputs, of, each))
        if name != "head":
            outputs[f"{name.removeprefix('backbone.')}.weight"] = of
    private = {
        f"{layer.name}.{kind}": layer.outputs.groups
        for layer in flow.layers
        for kind in OF_A_DEAD_CHANNEL
        if layer.name != "head" and isinstance(getattr(layer.module, kind, None), Tensor)
    }
    affine = {
        f"{layer.name}.{kind}": layer.outputs.groups
        for layer in flow.layers
        for kind in (("weight", "bias") if isinstance(layer.module, _BatchNorm) else ("bias",))
        if layer.name != "head" and isinstance(getattr(layer.module, kind, None), Tensor)
    }
    return Units(outputs, private, _pools(outputs, count), torch.cat(removable), tuple(products), affine)


def _pools(outputs: Layers, count: int) -> Tensor:
    """The number of each unit's pool, from 0."""
    pool = torch.arange(count)
    for units in outputs.values():
        met = torch.isin(pool, pool[units])
        pool[met] = pool[met].min()
    first = {number: place for place, number in enumerate(dict.fromkeys(pool.tolist()))}
    return torch.tensor([first[number] for number in pool.tolist()])


def _places(network: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """By layer with a weight, how many numbers each output channel has for an image of that shape."""
    found: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: found.__setitem__(name, output.numel() // len(module.weight))
        )
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    ]
    with torch.inference_mode():
        network(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return found
