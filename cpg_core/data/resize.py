"""Images of any size -> square images of the backbone's size, antialiased bilinear."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from cpg_core.seeds import seeded

SMALL_SIDE = 64  # pixels


def fit(image: Tensor, size: int) -> Tensor:
    """Resize and centre-crop uint8 [C, H, W] to [C, size, size]; nothing happens to an image of that size.

    Small sizes keep the whole short side; larger ones keep 7/8 of it (resize to 256, crop 224), as is usual.
    """
    if image.shape[1:] == (size, size):
        return image
    short_side = size if size <= SMALL_SIDE else round(size * 256 / 224)
    resized: Tensor = F.resize(image, [short_side], antialias=True)
    cropped: Tensor = F.center_crop(resized, [size, size])
    return cropped


def random_resized_crop(image: Tensor, size: int, *seed: int) -> Tensor:
    """Crop 8 to 100 % of the area of uint8 [C, H, W] in a ratio of 3:4 to 4:3, resized to [C, size, size].

    The same seed gives the same crop, whatever random numbers were drawn before.
    """
    with seeded(*seed):
        cropped: Tensor = v2.RandomResizedCrop(size, antialias=True)(image)
    return cropped
