"""The image that random crops are taken of: the same whether it is kept decoded or read from its file each time."""

from __future__ import annotations

from torch import Tensor


def reduced(image: Tensor, size: int) -> Tensor:
    """Resize uint8 [C, h, w] so that its short side is 256/224 of `size`, as is usual; a smaller one stays as it is."""
    short_side = round(size * 256 / 224)
    if min(image.shape[1:]) <= short_side:
        return image
    from torchvision.transforms.v2 import functional as F  # slow to import

    resized: Tensor = F.resize(image, [short_side], antialias=True)
    return resized
