"""ResNet-34 for photos, named as torchvision's: 21.3 million shared weights at width 1."""

from __future__ import annotations

from functools import partial

from torch import nn

from cpg_core.backbones import Input, linear_head
from cpg_core.backbones.parts.imagenet import torchvision_weights
from cpg_core.backbones.parts.residual import ResNet

INPUT = Input(channels=3, size=224, smallest=32)
HEAD = linear_head("fc")
WEIGHTS = partial(torchvision_weights, "resnet34")


def build(width: float) -> nn.Module:
    """Four stages of 3, 4, 6 and 3 blocks of two 3x3 convolutions each."""
    return ResNet("basic", (3, 4, 6, 3), width)
