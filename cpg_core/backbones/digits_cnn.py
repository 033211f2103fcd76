"""A small network for 8x8 grey digits: 19 thousand shared weights at width 1, seconds a task on one core."""

from __future__ import annotations

from torch import nn

from cpg_core.backbones import Input, channels

INPUT = Input(channels=1, size=8)


def build(width: float) -> nn.Module:
    """Two 3x3 convolutions, each halving the image, then one hidden linear layer."""
    first, second, hidden = (channels(count, width) for count in (16, 32, 64))
    network = nn.Sequential(
        nn.Conv2d(INPUT.channels, first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        nn.BatchNorm2d(second),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * 4, hidden),
        nn.ReLU(inplace=True),
    )
    network.out_features = hidden  # type: ignore[assignment]
    return network
