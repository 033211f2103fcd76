"""SphereFace-20 for aligned faces: 11.7 million shared weights at width 1, no batch norm.

Liu et al., *SphereFace: Deep Hypersphere Embedding for Face Recognition*, CVPR 2017, table 2, 20 layers. Parameters are
named as in the published network: `conv1_1`, `relu1_1`, ... Tasks share the weights of convolutions; biases and the
slopes of PReLU are private. The published linear layer, features to a 512-d embedding, is the head of a verification
task; every head reads the flattened last map, whose size follows from that of the images.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn

from cpg_core.backbones import Input, PublishedHead, channels

INPUT = Input(channels=3, size=112, smallest=16)
SIZED = True
HEAD = PublishedHead(
    "verification",
    {"weight": "fc5.weight", "bias": "fc5.bias", "identities": "fc6.weight"},
    rows=("identities",),
    transposed=("identities",),
    from_images="identities",
    classes="identities",
    follows="the task's `embedding` and the backbone's `size`",
)
"""As PyTorch versions of the network have it, https://github.com/clcarwin/sphereface_pytorch: the embedding and the
angular layer, `[embedding, identities]` there. Many files have the embedding alone, which is all that recall needs."""

STAGES = ((64, 1), (128, 2), (256, 4), (512, 1))
"""Base channels and residual pairs of each stage; every stage halves the image first."""
SLOPE = 0.25
"""Of PReLU below 0, at first."""
PAIR_STD = 0.01
"""Of the weights of residual pairs, at first: so each stage begins near its first convolution alone."""


class SphereFace(nn.Module):
    """Images `[N, 3, size, size]` to features `[N, out_features]`, the last map with its channels outermost.

    In a wider network the old channels are the leading ones of every layer, so the old features are the leading ones.
    """

    def __init__(self, width: float, size: int) -> None:
        super().__init__()
        before = INPUT.channels
        for stage, (base, pairs) in enumerate(STAGES, 1):
            after = channels(base, width)
            self._add(stage, 1, before, after, stride=2)
            for number in range(2, 2 * pairs + 2):
                self._add(stage, number, after, after, stride=1)
            before = after
        self.out_features = before * math.ceil(size / 2 ** len(STAGES)) ** 2

    def _add(self, stage: int, number: int, before: int, after: int, stride: int) -> None:
        """A 3x3 convolution with its activation: `conv1_1` and `relu1_1`."""
        convolution = nn.Conv2d(before, after, 3, stride, padding=1)
        if number == 1:
            nn.init.xavier_uniform_(convolution.weight)
        else:
            nn.init.normal_(convolution.weight, std=PAIR_STD)
        nn.init.zeros_(cast(nn.Parameter, convolution.bias))
        self.add_module(f"conv{stage}_{number}", convolution)
        self.add_module(f"relu{stage}_{number}", nn.PReLU(after, init=SLOPE))

    def _layer(self, stage: int, number: int, maps: Tensor) -> Tensor:
        convolved = self.get_submodule(f"conv{stage}_{number}")(maps)
        return cast(Tensor, self.get_submodule(f"relu{stage}_{number}")(convolved))

    def forward(self, images: Tensor) -> Tensor:
        """Features of each image."""
        maps = images
        for stage, (_, pairs) in enumerate(STAGES, 1):
            maps = self._layer(stage, 1, maps)
            for number in range(2, 2 * pairs + 2, 2):
                maps = maps + self._layer(stage, number + 1, self._layer(stage, number, maps))
        return maps.flatten(1)


def build(width: float, size: int = INPUT.size) -> nn.Module:
    """Four stages of a convolution of stride 2 and 1, 2, 4 and 1 residual pairs, 20 convolutions in all."""
    return SphereFace(width, size)
