"""Residual networks whose parameters are named as torchvision's (He et al., CVPR 2016; stride in the 3x3 convolution).

A block adds its input to its output channel by channel. All layers at a sum have their channel count from the same base
count, so at any two widths the narrow network's channels are the leading ones of the wide one on both sides of it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cpg_core.backbones import channels

STAGES = (64, 128, 256, 512)
"""Base channels of the four stages. Every stage but the first halves the image."""

WIDE_ENOUGH = 8
"""Channels from which a 1x1 convolution may have its stride inside: of 2 to 7, oneDNN 3.12 writes beyond its memory on
processors without AVX-512."""

EXPANSION = 4
"""A bottleneck's output channels over those of its 3x3 convolution."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a sum: `[N, before, S, S]` to `[N, after, S/stride, S/stride]`."""

    def __init__(self, before: int, after: int, stride: int, *, projects: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(before, after, stride) if projects else None

    def forward(self, images: Tensor) -> Tensor:
        """The input, projected where its shape changes, plus what the convolutions make of it."""
        out = self.relu(self.bn1(self.conv1(images)))
        out = self.bn2(self.conv2(out))
        out += images if self.downsample is None else self.downsample(images)
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1, beside a sum: `[N, before, S, S]` to `[N, after, S/stride, S/stride]`."""

    def __init__(self, before: int, inner: int, after: int, stride: int, *, projects: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(before, after, stride) if projects else None

    def forward(self, images: Tensor) -> Tensor:
        """As `BasicBlock`."""
        out = self.relu(self.bn1(self.conv1(images)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += images if self.downsample is None else self.downsample(images)
        return self.relu(out)  # type: ignore[no-any-return]


class NarrowProjection(nn.Conv2d):
    """A 1x1 convolution of few channels with a stride, which is applied to its input: the same function."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(before, after, 1, bias=False)
        self.every = stride

    def forward(self, images: Tensor) -> Tensor:
        """`[N, before, S, S]` to `[N, after, S/stride, S/stride]`."""
        used = images[:, :, :: self.every, :: self.every]
        return super().forward(used.contiguous(memory_format=torch.channels_last))


def projection(before: int, after: int, stride: int) -> nn.Sequential:
    """What brings a block's input to the shape of its output."""
    if before < WIDE_ENOUGH and stride > 1:
        return nn.Sequential(NarrowProjection(before, after, stride), nn.BatchNorm2d(after))
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


Kind = Literal["basic", "bottleneck"]


def stage(kind: Kind, before: int, inner: int, after: int, depth: int, *, first: bool) -> nn.Sequential:
    """Blocks of one size, the first of which reads `before` channels and halves the image, unless it is the `first`."""
    blocks: list[nn.Module] = []
    for number in range(depth):
        stride = 2 if number == 0 and not first else 1
        # As by the base counts, not by these: at a small width two of them may be rounded to the same.
        projects = number == 0 and (not first or kind == "bottleneck")
        if kind == "basic":
            blocks.append(BasicBlock(before, after, stride, projects=projects))
        else:
            blocks.append(Bottleneck(before, inner, after, stride, projects=projects))
        before = after
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """Images `[N, 3, S, S]` to features `[N, out_features]`, the mean over all places of the last map.

    Args:
        block: of which kind.
        depths: blocks of each of the four stages.
        width: channels over the published network's.
        stem: photo: 7x7 convolution of stride 2 and max pooling, so that stages begin at S/4; small: 3x3 of stride 1.
    """

    def __init__(
        self,
        block: Kind,
        depths: tuple[int, int, int, int],
        width: float,
        stem: Literal["photo", "small"] = "photo",
    ) -> None:
        super().__init__()
        before = channels(STAGES[0], width)
        if stem == "photo":
            self.conv1 = nn.Conv2d(3, before, 7, 2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem == "photo" else nn.Identity()
        each = []
        for number, (base, depth) in enumerate(zip(STAGES, depths, strict=True)):
            after = channels(base * (1 if block == "basic" else EXPANSION), width)
            each.append(stage(block, before, channels(base, width), after, depth, first=number == 0))
            before = after
        self.layer1, self.layer2, self.layer3, self.layer4 = each
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.out_features = before
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features of each image."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.avgpool(maps).flatten(1)  # type: ignore[no-any-return]
