"""Whole batches at once: normalise, random crop, flip, cutout. What is blotted out is 0, the mean of the task."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise uint8 [B, C, H, W] by mean and std [C] to float32, channels last in memory."""
    scale, shift = 1 / (255 * std), mean / std
    batch = images.float().contiguous(memory_format=torch.channels_last)
    return batch.mul_(scale.view(-1, 1, 1)).sub_(shift.view(-1, 1, 1))


def random_crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad float [B, C, H, W] by `padding` zeros on each side and crop each image at a random place to H x W."""
    count, _, height, width = images.shape
    padded = pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # every crop, as a view: [B, 2p+1, 2p+1, C, H, W]
    top, left = torch.randint(2 * padding + 1, (2, count), generator=generator)
    return windows[torch.arange(count), top, left]


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image of [B, C, H, W] left to right with probability 1/2."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def cutout(images: Tensor, side: int, generator: Generator) -> Tensor:
    """Set a square of each image of [B, C, H, W] to 0, its centre anywhere, so that it may lie partly outside."""
    count, _, height, width = images.shape

    def inside(length: int) -> Tensor:
        start = torch.randint(length, (count, 1), generator=generator) - side // 2
        place = torch.arange(length)
        return (place >= start) & (place < start + side)

    hidden = inside(height).view(count, 1, height, 1) & inside(width).view(count, 1, 1, width)
    return images.masked_fill(hidden, 0.0)
