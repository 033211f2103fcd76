"""ResNet-18 for 32x32 images, its first layer a 3x3 convolution of stride 1: 11.2 million shared weights at width 1."""

from __future__ import annotations

from torch import nn

from cpg_core.backbones import Input
from cpg_core.backbones.parts.residual import ResNet

INPUT = Input(channels=3, size=32, smallest=8)


def build(width: float) -> nn.Module:
    """Four stages of two blocks of two 3x3 convolutions each; every stage but the first halves the image."""
    return ResNet("basic", (2, 2, 2, 2), width, stem="small")
