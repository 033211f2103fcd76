"""Growth keeps a backbone's channels: on its leading slice the old task computes the very bits that it computed before.

And the wide network, with nothing in it but the old block, computes the old features too: so sums, groups and flattened
maps of it pair the same channels, and what a later task picks of the old block is what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from core.backbones.batch_statistics import with_statistics
from core.tiny import random_layers
from cpg_core import backbones, objectives
from cpg_core.backbones import Input, channels
from cpg_core.model.layers import Layers, copy_leading_block, leading_block
from cpg_core.model.network import Network, private_tensors, shared_parameters
from cpg_core.model.state import Shared, install, widened
from cpg_core.seeds import seeded

Build = Callable[[float], nn.Module]
GROWABLE = [name for name in backbones.names() if backbones.find(name).growable]
NARROW, BUDGET_X = 0.1, 2.5


def build_of(name: str) -> Build:
    """At the size of `images_of`."""
    backbone = backbones.find(name)
    takes = backbone.input
    return partial(backbone.build, size=takes.smallest or takes.size) if backbone.sized else backbone.build


def network(build: Build, budget_x: float) -> Network:
    return Network(build(NARROW * budget_x**0.5), 3, objectives.find("classification")).eval()


def random_network(build: Build, takes: Input) -> Network:
    """The narrow one, with random weights."""
    with seeded("growth"):
        found = network(build, 1.0)
    return with_statistics(found, images_of(takes, count=8))


def wide_state(narrow: Network, wide: Network) -> Shared:
    """The narrow network's weights as task 1 owns them, in the shapes of the wide one."""
    weight = {name: parameter.detach().clone() for name, parameter in shared_parameters(narrow).items()}
    owner = {name: torch.ones_like(value, dtype=torch.int16) for name, value in weight.items()}
    shapes = {name: parameter.shape for name, parameter in shared_parameters(wide).items()}
    return widened(Shared(1.0, weight, owner), BUDGET_X, shapes)


def images_of(takes: Input, count: int = 2) -> Tensor:
    size = takes.smallest or takes.size
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, takes.channels, size, size, generator=generator)


def logits(found: Network, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return found(images)


def displace(weights: Layers, layer: str | None) -> Layers:
    """The same, but that the rows of one layer lie one further on."""
    return weights if layer is None else {**weights, layer: weights[layer].roll(1, dims=0)}


def slice_gives_the_same_bits(build: Build, takes: Input, displaced: str | None = None) -> bool:
    """Whether the old task, put together again from the leading block of the grown weights, gives its old logits."""
    narrow, wide = random_network(build, takes), network(build, BUDGET_X)
    shared = wide_state(narrow, wide)
    noise = random_layers(3, {name: weight.shape for name, weight in shared.weight.items()})
    grown = {name: torch.where(shared.owner[name] == 1, weight, noise[name]) for name, weight in shared.weight.items()}
    grown, again = displace(grown, displaced), network(build, 1.0)
    shapes = {name: parameter.shape for name, parameter in shared_parameters(again).items()}
    install(again, {name: leading_block(grown[name], shape) for name, shape in shapes.items()}, private_tensors(narrow))
    images = images_of(takes)
    before = logits(narrow, images)
    assert (before[0] - before[1]).abs().max() > 1e-3, "they depend on the image"
    return torch.equal(logits(again, images), before)


def silent(wide: Network, narrow: Network) -> Layers:
    """Private tensors of the wide network in which the narrow one's lie, and new channels put out nothing."""
    found = {name: torch.zeros_like(value) for name, value in private_tensors(wide).items()}
    for name, value in private_tensors(narrow).items():
        if name.endswith("running_var"):
            found[name].fill_(1.0)
        copy_leading_block(found[name], value) if value.dim() else found[name].copy_(value)
    return found


def wide_gives_the_same_features(build: Build, takes: Input, displaced: str | None = None) -> bool:
    """Whether the wide network, 0 outside of the old block, gives the old features first, and nothing after them."""
    narrow, wide = random_network(build, takes), network(build, BUDGET_X)
    install(wide, displace(wide_state(narrow, wide).weight, displaced), silent(wide, narrow))
    images = images_of(takes).double()
    with torch.inference_mode():
        old, new = (cast(Tensor, found.backbone.double()(images)) for found in (narrow, wide))
    count = old.shape[1]
    assert (old[0] - old[1]).abs().max() > 1e-3 and new.shape[1] > count
    return new[:, :count].allclose(old, rtol=1e-6, atol=1e-9) and not new[:, count:].any()


@pytest.mark.parametrize("name", GROWABLE)
def test_the_old_task_gives_the_same_bits_on_the_slice_of_its_width(name: str) -> None:
    assert slice_gives_the_same_bits(build_of(name), backbones.find(name).input)


@pytest.mark.parametrize("name", GROWABLE)
def test_the_wide_network_computes_the_old_features_in_its_leading_channels(name: str) -> None:
    assert wide_gives_the_same_features(build_of(name), backbones.find(name).input)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("digits_cnn", "4.weight"),
        ("resnet18_32", "layer2.0.downsample.0.weight"),
        ("resnet50", "layer1.0.downsample.0.weight"),
        ("efficientnet_lite0", "_blocks.2._depthwise_conv.weight"),
        ("sphereface20", "conv3_3.weight"),
    ],
)
def test_a_block_that_is_displaced_in_one_layer_fails_both(name: str, layer: str) -> None:
    build, takes = build_of(name), backbones.find(name).input
    assert not slice_gives_the_same_bits(build, takes, displaced=layer)
    assert not wide_gives_the_same_features(build, takes, displaced=layer)


class TwoBranches(nn.Module):
    """Two convolutions whose maps lie one behind the other: the second begins further back in a wider network."""

    def __init__(self, width: float) -> None:
        super().__init__()
        half = channels(40, width)
        self.branches = nn.ModuleList([nn.Conv2d(1, half, 1), nn.Conv2d(1, half, 1)])
        self.last = nn.Conv2d(2 * half, half, 1)
        self.out_features = half

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.cat([branch(images) for branch in self.branches], dim=1)).mean(dim=(2, 3))


def two_groups(width: float) -> nn.Module:
    """A convolution of two groups, of which the second begins further back in a wider network."""
    count = 2 * channels(20, width)
    found = nn.Sequential(
        nn.Conv2d(1, count, 1), nn.Conv2d(count, count, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found.out_features = count  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("build", [TwoBranches, two_groups])
def test_a_backbone_whose_channels_move_as_it_grows_fails_the_same_check(build: Build) -> None:
    assert not wide_gives_the_same_features(build, Input(channels=1, size=8))
