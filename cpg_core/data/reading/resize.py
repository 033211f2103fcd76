"""Images of any size -> square images of the backbone's size, antialiased bilinear."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor

from cpg_core.seeds import derive

Resize = Literal["crop", "squash"]
"""How an image becomes square: its middle, or the whole of it with other proportions."""
SMALL_SIDE = 64  # pixels
RESIZE_OVER_CROP = 256 / 224
"""Of the short side over the side of the crop of its middle, as is usual for ImageNet."""
CROP_AREA = 0.08, 1.0
CROP_RATIO = 3 / 4, 4 / 3
MOST_SIDES = 16
"""A longer image loses its ends before it is resized: one of a pixel's width would grow to gigabytes."""
CROP_TRIES = 10
"""After these the largest crop of the middle is taken, as of an image that is far from square."""


def fit(image: Tensor, size: int, resize: Resize = "crop") -> Tensor:
    """Make uint8 [C, H, W] [C, size, size]; nothing happens to an image of that size.

    `squash` resizes it whole, whatever its proportions. `crop` resizes it and takes its middle.
    Small sizes keep the whole short side; larger ones keep 7/8 of it (resize to 256, crop 224), as is usual.
    """
    if image.shape[1:] == (size, size):
        return image
    from torchvision.transforms.v2 import functional as F  # slow to import, and images that fit do without

    if resize == "squash":
        squashed: Tensor = F.resize(image, [size, size], antialias=True)
        return squashed
    height, width = image.shape[1:]
    most = MOST_SIDES * min(height, width)
    if max(height, width) > most:
        image = F.center_crop(image, [min(height, most), min(width, most)])
    resized: Tensor = F.resize(image, [short_side(size)], antialias=True)
    cropped: Tensor = F.center_crop(resized, [size, size])
    return cropped


def described(size: int, resize: Resize) -> str:
    """What `fit` does, for whoever has to do it elsewhere."""
    if resize == "squash":
        return f"resize the whole of it to {size} x {size} (antialiased bilinear)"
    return f"resize the short side to {short_side(size)} (antialiased bilinear), then take the middle {size} x {size}"


def short_side(size: int) -> int:
    """To how many pixels the short side is resized before the middle of `size` x `size` is taken."""
    return size if size <= SMALL_SIDE else _usual_short_side(size)


def reduced(image: Tensor, size: int) -> Tensor:
    """The image that random crops are taken of, the same whether it is kept decoded or read from its file each time.

    uint8 [C, h, w], resized so that its short side is `RESIZE_OVER_CROP` of `size`; a smaller one stays as it is.
    """
    to = _usual_short_side(size)
    if min(image.shape[1:]) <= to:
        return image
    from torchvision.transforms.v2 import functional as F  # slow to import

    resized: Tensor = F.resize(image, [to], antialias=True)
    return resized


def random_resized_crop(image: Tensor, size: int, *seed: int) -> Tensor:
    """Crop 8 to 100 % of the area of uint8 [C, H, W] in a ratio of 3:4 to 4:3, resized to [C, size, size].

    The same seed gives the same crop, whatever random numbers were drawn before or are drawn meanwhile.
    """
    from torchvision.transforms.v2 import functional as F

    height, width = image.shape[1:]
    box = _random_box(height, width, torch.Generator().manual_seed(derive(*seed)))
    cropped: Tensor = F.resized_crop(image, *box, [size, size], antialias=True)
    return cropped


def _random_box(height: int, width: int, generator: Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop, with the draws of torchvision's RandomResizedCrop.

    That one has only the generator that all threads share.
    """
    lowest, highest = (math.log(ratio) for ratio in CROP_RATIO)
    for _ in range(CROP_TRIES):
        area = height * width * _uniform(*CROP_AREA, generator)
        ratio = math.exp(_uniform(lowest, highest, generator))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            return _below(height - high + 1, generator), _below(width - wide + 1, generator), high, wide
    wide = min(width, round(height * CROP_RATIO[1]))
    high = min(height, round(width / CROP_RATIO[0]))
    return (height - high) // 2, (width - wide) // 2, high, wide


def _usual_short_side(size: int) -> int:
    return round(size * RESIZE_OVER_CROP)


def _uniform(low: float, high: float, generator: Generator) -> float:
    return torch.empty(1).uniform_(low, high, generator=generator).item()


def _below(end: int, generator: Generator) -> int:
    return int(torch.randint(0, end, (1,), generator=generator))
