"""Units of channels: what is coupled, what must stay, and what the living ones cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.tiny import settings
from cpg_core import backbones
from cpg_core.backbones import Backbone, Input
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.methods import find
from cpg_core.model.channels.units import channel_units
from cpg_core.stages.backbone_rules import require_fit

FIXED_WIDTH = ("base_width=1", "grow.max_x=1")
DIGITS = 16 * 9 * 64 + 32 * 16 * 9 * 16 + 64 * 128 + 64 * 2
"""Multiply-adds of digits_cnn at width 1 with 2 classes: convolutions at 64 and 16 places, two linear layers."""


def test_the_cost_of_a_chain() -> None:
    units = channel_units(BackboneSpec(name="digits_cnn"), 1.0, 2)
    every = torch.ones(len(units), dtype=torch.bool)
    assert (units.channels(every), units.multiply_adds(every)) == (16 + 32 + 64, DIGITS)
    less = every.clone()
    less[units.outputs["0.weight"][:4]] = False
    less[units.outputs["4.weight"][:8]] = False
    half = 12 * 9 * 64 + 24 * 12 * 9 * 16 + 64 * 96 + 64 * 2
    assert (units.channels(less), units.multiply_adds(less)) == (12 + 24 + 64, half)


class Grouped(nn.Module):
    """A convolution of two groups, of which no channel can be left out alone, between two that are dense."""

    out_features = 4

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))  # type: ignore[no-any-return]


class ByImage(Grouped):
    """What it computes depends on how many images there are."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if len(images) > 1 else super().forward(-images)


def given(monkeypatch: pytest.MonkeyPatch, network: type[nn.Module]) -> None:
    found = Backbone(network.__name__, Input(1, 8), lambda width: network())  # noqa: ARG005
    monkeypatch.setattr(backbones, "find", lambda name: found)  # noqa: ARG005


def test_what_goes_into_and_out_of_an_unknown_operation_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Grouped)
    units = channel_units(BackboneSpec(name="grouped"), 1.0, 2)
    stays = {name: bool((~units.removable[places]).all()) for name, places in units.outputs.items()}
    kept = {name: bool(units.removable[places].all()) for name, places in units.outputs.items()}
    layers = [f"layers.{place}.weight" for place in range(4)]
    assert stays == dict(zip(layers, [False, True, True, False], strict=True))
    assert kept == {name: not there for name, there in stays.items()}
    every = torch.ones(len(units), dtype=torch.bool)
    assert units.multiply_adds(every) == (4 + 16 + 8 + 16) * 64 + 8
    assert units.multiply_adds(~every) == (16 - 16 + 8) * 64  # what stays reads nothing but itself


def test_a_network_that_cannot_be_followed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, ByImage)
    with pytest.raises(CpgError, match=r"set prune\.unit: weight"):
        require_fit(find("pae"), BackboneSpec(name="by_image"), settings(*FIXED_WIDTH, "prune.unit=channel"))
    require_fit(find("pae"), BackboneSpec(name="by_image"), settings(*FIXED_WIDTH, "prune.unit=weight"))


def test_channels_of_a_sum_and_of_a_depthwise_convolution_are_one_unit_with_their_batch_norm() -> None:
    resnet = channel_units(BackboneSpec(name="resnet18_32"), 0.06, 2)
    assert torch.equal(resnet.outputs["conv1.weight"], resnet.outputs["layer1.1.conv2.weight"])
    assert torch.equal(resnet.outputs["layer2.0.downsample.0.weight"], resnet.outputs["layer2.1.conv2.weight"])
    assert torch.equal(resnet.private["backbone.layer2.1.bn2.bias"], resnet.outputs["layer2.1.conv2.weight"])
    assert not torch.isin(resnet.outputs["layer1.0.conv1.weight"], resnet.outputs["conv1.weight"]).any()
    lite0 = channel_units(BackboneSpec(name="efficientnet_lite0", size=32), 0.1, 2)
    inner = (lite0.outputs[f"_blocks.1._{part}_conv.weight"] for part in ("expand", "depthwise"))
    assert torch.equal(*inner)
