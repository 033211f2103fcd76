"""VGG16 with batch norm for 32x32 images, as in experiment 1: 33.6 million shared weights at width 1."""

from __future__ import annotations

from torch import nn

from cpg_core.backbones import Input, channels

INPUT = Input(channels=3, size=32)

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 4096


def build(width: float) -> nn.Module:
    """Five blocks of 3x3 convolutions without bias, each block halving the image, then two hidden linear layers."""
    layers: list[nn.Module] = []
    before = INPUT.channels
    for block in BLOCKS:
        for count in block:
            after = channels(count, width)
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        layers.append(nn.MaxPool2d(2))
    hidden = channels(HIDDEN, width)
    layers += [nn.Flatten(), nn.Linear(before, hidden), nn.ReLU(inplace=True)]
    layers += [nn.Linear(hidden, hidden), nn.ReLU(inplace=True)]
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    network.out_features = hidden  # type: ignore[assignment]
    return network
